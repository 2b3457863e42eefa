//! What of the host's `/etc` is in every sandbox: what programs do not work without and what tells nothing about the user.
//!
//! One list. Never in it: accounts and passwords (`shadow`, `sudoers`), keys (`ssh`, `ssl/private`), networks
//! (`NetworkManager`, `wpa_supplicant`), what runs when (`cron*`, `systemd`), and files in which administrators put a password
//! or a token for everybody (`npmrc`, `pip.conf`, `wgetrc`, `gitconfig`, `my.cnf`, `maven/settings.xml`). Not `profile`
//! either: a login shell would set PATH without the environment's programs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Small files of the system, copied, following links.
const FILES: [&str; 24] = [
    "ld.so.cache",
    "ld.so.conf",
    "resolv.conf",
    "nsswitch.conf",
    "host.conf",
    "gai.conf",
    "localtime",
    "timezone",
    "os-release",
    "debian_version",
    "alpine-release",
    "redhat-release",
    "lsb-release",
    "protocols",
    "services",
    "ethertypes",
    "rpc",
    "mime.types",
    "inputrc",
    "locale.conf",
    "locale.alias",
    "shells",
    "ca-certificates.conf",
    "ssl/openssl.cnf",
];

/// Directories of the system. Not `ssl` and `pki` as a whole: they hold private keys beside certificates.
const DIRECTORIES: [&str; 11] = [
    "ssl/certs",
    "ca-certificates",
    "pki/ca-trust",
    "pki/tls/certs",
    "alternatives",
    "ld.so.conf.d",
    "fonts",
    "terminfo",
    "crypto-policies",
    "java",
    "static",
];

/// Configuration of packages, each with what does not work without it. A `*` at the end stands for any rest of the name.
const PACKAGES: &[(&str, &str)] = &[
    ("java-*", "the JVM does not start: its security policy and its list of modules are links to here"),
    ("maven/m2.conf", "mvn does not start; not settings.xml, which can hold passwords"),
    ("maven/logging", "mvn logs to nowhere"),
    ("chromium.d", "Debian's chromium reads its flags here and stops with an error"),
    ("chromium/master_preferences", "chromium's first start"),
    ("chromium-browser", "as chromium.d, on Ubuntu"),
    ("firefox", "preferences of the distribution"),
    ("firefox-esr", "preferences of the distribution"),
    ("perl", "Net::Config, CPAN's site configuration, sitecustomize.pl"),
    ("python3*", "sitecustomize of Debian's Python is a link to here"),
    ("ImageMagick-*", "convert does not find its formats, and warns of every delegate"),
    ("R", "R does not start: its Renviron is a link to here"),
    ("texmf", "TeX does not find its formats"),
    ("xml", "XML catalogs: without them DTDs are looked for in the network"),
    ("sgml", "as xml"),
    ("groff", "man pages are formatted without their macros"),
    ("manpath.config", "man does not find its pages"),
    ("magic", "additions to what file(1) knows"),
    ("magic.mime", "as magic"),
    ("mailcap", "which program shows what: Python's mailcap, run-mailcap"),
    ("bash.bashrc", "what an interactive shell looks like"),
    ("bashrc", "as bash.bashrc, on Fedora"),
    ("bash_completion.d", "completions"),
    ("zsh", "as bash.bashrc"),
    ("fish", "as bash.bashrc"),
    ("DIR_COLORS", "the colours of ls"),
    ("vim", "vi and vim begin without their defaults"),
    ("vimrc", "as vim, on Fedora"),
    ("nanorc", "colours of nano"),
    ("emacs", "Debian's packages for Emacs"),
    ("lynx", "lynx does not start"),
    ("screenrc", "screen"),
    ("tmux.conf", "what tmux does, and its keys"),
    ("less", "its key bindings"),
    ("gdb", "gdb's pretty printers"),
    ("gtk-2.0", "GTK's theme and input methods"),
    ("gtk-3.0", "as gtk-2.0"),
    ("dconf/profile", "GTK programs complain"),
    ("glvnd", "OpenGL finds its driver by it"),
    ("vulkan", "as glvnd"),
    ("OpenCL", "as glvnd"),
    ("X11/app-defaults", "what X programs look like"),
    ("X11/rgb.txt", "names of colours"),
    ("pulse/client.conf", "sound: without it every start waits"),
    ("alsa", "sound"),
    ("asound.conf", "sound"),
    ("libnl-3", "names of traffic classes"),
    ("netconfig", "RPC programs do not start"),
    ("postgresql-common", "psql of Debian looks here which version to start"),
    ("ghostscript", "fonts of gs"),
    ("mono", "Mono does not start"),
    ("dotnet", "where .NET is installed"),
];

/// The files that are copied.
pub fn files() -> impl Iterator<Item = PathBuf> {
    FILES.into_iter().map(|name| Path::new("/etc").join(name))
}

/// What is bound read-only and exists here: directories of the system, and files and directories of packages.
pub fn bound() -> Vec<PathBuf> {
    let etc = Path::new("/etc");
    let names: Vec<std::ffi::OsString> = match std::fs::read_dir(etc) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect(),
        Err(_) => Vec::new(),
    };
    let has = |name: &str| names.iter().any(|entry| entry == OsStr::new(name.split('/').next().unwrap_or(name)));
    let mut all: Vec<PathBuf> =
        DIRECTORIES.iter().filter(|name| has(name)).map(|name| etc.join(name)).filter(|path| path.is_dir()).collect();
    for (pattern, _) in PACKAGES {
        match pattern.strip_suffix('*') {
            Some(begin) => {
                let fits = |name: &&std::ffi::OsString| name.to_str().is_some_and(|name| name.starts_with(begin));
                let mut found: Vec<PathBuf> = names.iter().filter(fits).map(|name| etc.join(name)).collect();
                found.sort();
                all.extend(found);
            }
            None if has(pattern) => all.push(etc.join(pattern)),
            None => {}
        }
    }
    // Behind a link is what nobody looked at here; and what others cannot read is nobody's configuration.
    all.retain(|path| DIRECTORIES.iter().any(|name| path.ends_with(name)) || is_public(path));
    all
}

fn is_public(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return false };
    let wanted = if metadata.is_dir() { 0o005 } else { 0o004 };
    (metadata.is_dir() || metadata.is_file()) && metadata.uid() == 0 && metadata.mode() & wanted == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_holds_secrets_is_in_the_list() {
        let secret = [
            "shadow",
            "gshadow",
            "sudoers",
            "ssh",
            "ssl",
            "ssl/private",
            "pki",
            "NetworkManager",
            "wpa_supplicant",
            "cron.d",
            "crontab",
            "systemd",
            "npmrc",
            "pip.conf",
            "wgetrc",
            "gitconfig",
            "my.cnf",
            "mysql",
            "maven",
            "environment",
            "profile",
            "profile.d",
            "fstab",
            "krb5.keytab",
            "opt",
            "docker",
            "containers",
            "kubernetes",
        ];
        let all = PACKAGES.iter().map(|(name, _)| *name).chain(DIRECTORIES).chain(FILES);
        for name in all {
            assert!(!secret.contains(&name), "{name}");
            let begin = name.trim_end_matches('*');
            assert!(begin.len() == name.len() || !secret.iter().any(|secret| secret.starts_with(begin)), "{name}");
        }
        assert!(PACKAGES.iter().all(|(_, why)| why.len() > 4));
    }
}
