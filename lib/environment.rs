//! The environment of a project's programs: what passes from the host, what sbox sets, and what `env:` asks for. The one
//! place that decides it; `sbox-envsh` prints it, and whoever starts a sandbox passes it on.

use crate::certificates;
use crate::check::RESERVED;
use crate::config::Config;
use crate::error::Result;
use crate::host_variables::expand;
pub use crate::host_variables::{Host, Unset, Variables};
use crate::inner_source;
use crate::model::{Language, MountMode, NameSet, Network, SYSTEM_PATH};
use crate::project::Project;
use crate::registries;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What passes from the host by itself: how programs speak, and who the user is called.
const PASSED: [&str; 7] = ["LANG", "TERM", "COLORTERM", "TZ", "USER", "LOGNAME", "NO_COLOR"];

/// What passes when there is a network: the way out of a company.
const PROXIES: [&str; 8] =
    ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];

/// What passes when there is a network and the file is visible inside: whom to trust.
const CERTIFICATES: [&str; 7] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
];

/// The environment of the programs in a sandbox of `project`, whose paths are those that programs see; and what of the host
/// it asks for in vain. `level` is what SBOX_ISOLATION says.
///
/// # Errors
/// A file of `env_file:` that cannot be read.
pub fn of_sandbox(project: &Project, config: &Config, level: &str, host: &Host) -> Result<(Variables, Vec<Unset>)> {
    let speaks = |name: &str| PASSED.contains(&name) || name.starts_with("LC_");
    let mut all: Variables = host.all().filter(|(name, _)| speaks(name)).cloned().collect();
    all.sort();
    match config.network {
        Network::Host => all.extend(host.only(&PROXIES).into_iter().chain(authorities(host))),
        // The proxy of such a sandbox is its own, and sbox-spawn names it.
        Network::Allow { .. } => {
            all.extend(authorities(host));
            all.extend(registry_variables(config, host));
            all.extend(quiet_node(config));
        }
        Network::None => {}
    }
    all.extend(own(project, level).into_iter().map(|(name, value)| (name.to_owned(), value.into())));
    all.push(("PATH".into(), format!("{}:{SYSTEM_PATH}", own_path(project)).into()));
    for file in &config.env_file {
        for (name, value) in from_file(config, file)?.into_iter().filter(|(name, _)| !RESERVED.contains(&&**name)) {
            all.retain(|(other, _)| *other != name);
            all.push((name, value.into()));
        }
    }
    let mut unset = Vec::new();
    for (name, value) in config.env.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str())) {
        if let Some(value) = expand(name, value, host, &mut unset) {
            all.retain(|(other, _)| other != name);
            all.push((name.clone(), value));
        }
    }
    Ok((all, unset))
}

/// The variables in a file of `env_file:`. Where the agent can write, no link is followed: it could lead to any file.
fn from_file(config: &Config, file: &Path) -> Result<Vec<(String, String)>> {
    let writable = config.mount.iter().filter(|mount| mount.mode == MountMode::ReadWrite);
    let writable: Vec<PathBuf> = writable.filter_map(|mount| mount.src.canonicalize().ok()).collect();
    crate::dotenv::read(&inner_source::resolve(file, &writable)?.path)
}

/// Node.js 22 warns at every start that it takes a proxy from the environment. Not said to older ones, which refuse the
/// option; and a NODE_OPTIONS of the configuration replaces this.
fn quiet_node(config: &Config) -> Option<(String, OsString)> {
    let node = config.runtimes.iter().find(|runtime| runtime.language == Language::Node)?;
    let major: u32 = node.version.split('.').next()?.parse().ok()?;
    (major >= 22).then(|| ("NODE_OPTIONS".into(), "--disable-warning=UNDICI-EHPA".into()))
}

/// Where a set allows the registry that the host's client is configured to use, the sandbox's client uses it, too.
fn registry_variables(config: &Config, host: &Host) -> Variables {
    let mut all = Variables::new();
    for set in [NameSet::Npm, NameSet::Pypi].into_iter().filter(|set| config.network.allows_set(*set)) {
        for registry in registries::of(set, config, host, &registries::Registries::default()) {
            for name in registry.variables {
                match all.iter_mut().find(|(other, _): &&mut (String, OsString)| other == name) {
                    Some((_, value)) => value.push(format!(" {}", registry.url)),
                    None => all.push(((*name).to_owned(), registry.url.clone().into())),
                }
            }
        }
    }
    all
}

fn authorities(host: &Host) -> Variables {
    let mut all = host.only(&CERTIFICATES);
    all.retain(|(_, path)| is_visible(Path::new(path)));
    // pip and Node bring a bundle of their own and do not look at the system's, where a company's own authority is.
    if let Some(bundle) = certificates::system_bundle() {
        for name in ["PIP_CERT", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"] {
            if !all.iter().any(|(other, _)| other == name) {
                all.push((name.to_owned(), bundle.into()));
            }
        }
    }
    all
}

/// What the agent has in the place of secrets, and whom it has to trust for it.
pub fn add_placeholders(variables: &mut Variables, config: &Config, placeholders: Vec<(String, String)>) {
    if placeholders.is_empty() {
        return;
    }
    for (name, value) in placeholders {
        variables.retain(|(other, _)| *other != name);
        variables.push((name, value.into()));
    }
    let is_said = |name: &str| config.env.iter().any(|(other, _)| other == name);
    for name in certificates::VARIABLES.into_iter().filter(|name| !is_said(name)) {
        variables.retain(|(other, _)| other != name);
        variables.push((name.to_owned(), certificates::OWN_BUNDLE.into()));
    }
}

fn is_visible(path: &Path) -> bool {
    ["/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust", "/etc/ca-certificates", "/usr"]
        .iter()
        .any(|place| path.starts_with(place))
}

/// The directories of the project's programs, as PATH has them.
pub fn own_path(project: &Project) -> String {
    let (env, home) = (project.env(), project.rootfs().join("home"));
    let places = [env.join("bin"), env.join("pnpm"), home.join(".local/bin")];
    places.map(|place| place.to_string_lossy().into_owned()).join(":")
}

/// What sbox sets, PATH apart.
pub fn own(project: &Project, level: &str) -> Vec<(&'static str, String)> {
    let (env, rootfs) = (project.env(), project.rootfs());
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let home = |below: &str| text(rootfs.join("home").join(below));
    vec![
        ("SBOX_ACTIVE", "1".into()),
        ("SBOX_PROJECT", text(project.root().to_owned())),
        ("SBOX_ISOLATION", level.into()),
        ("HOME", text(rootfs.join("home"))),
        ("TMPDIR", text(rootfs.join("tmp"))),
        ("XDG_CONFIG_HOME", home(".config")),
        ("XDG_CACHE_HOME", home(".cache")),
        ("XDG_DATA_HOME", home(".local/share")),
        ("XDG_STATE_HOME", home(".local/state")),
        ("PYTHONNOUSERSITE", "1".into()),
        ("PYTHONDONTWRITEBYTECODE", "1".into()),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1".into()),
        ("CONDA_PREFIX", text(env.clone())),
        ("MAMBA_ROOT_PREFIX", text(project.state().join("mamba"))),
        ("npm_config_cache", home(".npm")),
        ("npm_config_prefix", text(env.clone())),
        ("PNPM_HOME", text(env.join("pnpm"))),
        ("COREPACK_HOME", home(".cache/node/corepack")),
    ]
}

/// `NAME=VALUE`, each followed by NUL: the form of /proc/PID/environ and of `env -0`.
pub fn null_terminated(variables: &Variables) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in variables {
        out.extend([name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat());
    }
    out
}
