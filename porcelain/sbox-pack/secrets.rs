//! What looks like a secret in what is about to be given away. A warning, not a filter: nobody can list them all.

use libsbox::check;
use libsbox::config::Config;
use libsbox::dir::Dir;
use libsbox::escape;
use libsbox::output;
use libsbox::project::Project;
use std::io::Read;
use std::path::Path;

/// Names of files that programs keep credentials in.
const NAMES: [&str; 14] = [
    ".netrc",
    ".pypirc",
    ".git-credentials",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".env",
    "credentials.json",
    ".credentials.json",
    "auth.json",
    "service-account.json",
    ".vault-token",
    ".pgpass",
];

/// The same with the directory that they are in.
const PLACES: [&str; 5] =
    [".aws/credentials", ".docker/config.json", ".kube/config", ".config/gh/hosts.yml", ".cargo/credentials.toml"];

/// What private keys and tokens begin with; the second of each pair is what it is.
const MARKS: [(&[u8], &str); 6] = [
    (b"PRIVATE KEY-----", "a private key"),
    (b"_authToken", "a registry's token"),
    (b"aws_secret_access_key", "a key of AWS"),
    (b"ghp_", "a token of GitHub"),
    (b"github_pat_", "a token of GitHub"),
    (b"sk-ant-", "a key of an API"),
];

/// How much of a file is looked at, and how large one may be.
const LOOKED_AT: u64 = 64 * 1024;

/// Other people's packages have keys to test with.
const PACKAGES: [&str; 2] = ["node_modules", "site-packages"];

/// Warns of each.
pub fn warn(project: &Project, config: &Config) {
    let mut found = Vec::new();
    for (name, value) in config.env.iter().filter(|(name, value)| check::is_secret(name, value)) {
        let _ = value;
        found.push(format!("the variable {} of the configuration", escape::visible(name)));
    }
    if let Ok(dir) = Dir::open(&project.rootfs()) {
        let skipped = |place: &Path| {
            place.starts_with("tmp")
                || place.starts_with("home/.cache")
                || PACKAGES.iter().any(|name| place.ends_with(name))
        };
        let _ = dir.walk_in(&skipped, &mut |dir, entry, place| {
            if entry.kind == rustix::fs::FileType::RegularFile
                && let Some(what) = suspicion(dir, &entry.name, place)
            {
                found.push(format!("{} ({what})", escape::visible_path(Path::new(".sbox/rootfs").join(place))));
            }
            Ok(())
        });
    }
    if found.is_empty() {
        return;
    }
    output::warn(format_args!("possible secrets in the archive ({}):", found.len()));
    for one in found.iter().take(20) {
        output::line(format_args!("  {one}"));
    }
    output::hint("remove what you do not want to share, and pack again; variables can be \"${NAME}\"");
}

fn suspicion(dir: &Dir, name: &std::ffi::OsStr, place: &Path) -> Option<&'static str> {
    let mut start = Vec::new();
    // What the agent closed to the user is in the archive all the same.
    let file = dir.file_lent(name).ok()?;
    if file.metadata().ok()?.len() == 0 {
        return None;
    }
    file.take(LOOKED_AT).read_to_end(&mut start).ok()?;
    let mark = MARKS.iter().find(|(mark, _)| memchr::memmem::find(&start, mark).is_some()).map(|(_, what)| *what);
    let is_named = NAMES.iter().any(|known| name == *known) || PLACES.iter().any(|known| place.ends_with(known));
    mark.or(is_named.then_some("credentials are kept under that name"))
}
