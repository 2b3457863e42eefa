//! What on a host gives more away than a file: keys, logins, ways into other programs. Nothing proposes to mount it without
//! saying so.

use std::path::Path;

/// Below a home directory, each with what it holds.
const IN_HOME: &[(&str, &str)] = &[
    (".ssh", "it holds your SSH keys"),
    (".gnupg", "it holds your GnuPG keys"),
    (".aws", "it holds credentials of AWS"),
    (".azure", "it holds credentials of Azure"),
    (".config/gcloud", "it holds credentials of Google Cloud"),
    (".config/gh", "it holds a login at GitHub"),
    (".kube", "it holds credentials of Kubernetes"),
    (".docker", "it holds logins at registries"),
    (".netrc", "it holds passwords"),
    (".pgpass", "it holds passwords"),
    (".my.cnf", "it holds passwords"),
    (".git-credentials", "it holds passwords"),
    (".npmrc", "it can hold a token"),
    (".pypirc", "it holds passwords"),
    (".cargo/credentials.toml", "it holds a token"),
    (".vault-token", "it holds a token"),
    (".password-store", "it holds your passwords"),
    (".mozilla", "it holds the logins of a browser"),
    (".config/google-chrome", "it holds the logins of a browser"),
    (".config/chromium", "it holds the logins of a browser"),
    (".bash_history", "it can hold what you typed, passwords too"),
    (".zsh_history", "it can hold what you typed, passwords too"),
];

/// Elsewhere.
const ELSEWHERE: &[(&str, &str)] = &[
    ("/etc/shadow", "it holds the passwords of the host"),
    ("/etc/ssh", "it holds the host's keys"),
    ("/var/run/docker.sock", "who can use it is root on this host"),
    ("/run/docker.sock", "who can use it is root on this host"),
    ("/run/user", "sockets of your session lead out of the sandbox"),
    ("/run/dbus", "sockets of the system lead out of the sandbox"),
    ("/tmp/.X11-unix", "who can use it sees your screen and types for you"),
    ("/root", "it is the home of root"),
];

/// What a path of the host gives away, if it is such a one, or a directory that holds one.
pub fn is_private(path: &Path) -> Option<&'static str> {
    let touches = |place: &Path| path.starts_with(place) || place.starts_with(path);
    let home = crate::fs::user_home();
    let in_home = home.and_then(|home| {
        if home.starts_with(path) {
            return Some("it holds your whole home");
        }
        IN_HOME.iter().find(|(name, _)| touches(&home.join(name)) && path != home).map(|(_, what)| *what)
    });
    in_home.or_else(|| ELSEWHERE.iter().find(|(place, _)| touches(Path::new(place))).map(|(_, what)| *what))
}
