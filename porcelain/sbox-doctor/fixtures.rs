//! What an attack is aimed at: made for it, and removed after. Nothing of the user's is touched, whatever gets through.

use libsbox::error::{Context, Error, Result};
use libsbox::fs;
use libsbox::plumbing;
use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// One set of them.
pub struct Fixtures {
    root: PathBuf,
    bystander: Child,
    port: u16,
    abstract_name: String,
    shm: PathBuf,
    /// A word that is nowhere but in the environment of the caller and of the bystander.
    pub canary: String,
    _listeners: (TcpListener, UnixListener, UnixListener),
}

/// What lies there to be reached.
const FILES: [&str; 15] = [
    "secret/file",
    "data/file",
    "work/.envrc",
    "work/.git/config",
    "work/.git/hooks/sample",
    "work/.vscode/x.json",
    "work/.claude/x.json",
    "work/deep/below/.git/config",
    "work/deep/below/.git/hooks/sample",
    "work/deep/.sbox/config.yaml",
    "tree/file",
    "tree/other",
    "tree/third",
    "tree/gone",
    "tree/.git/hooks/sample",
];

fn make_files(root: &Path) -> Result<()> {
    for file in FILES {
        let path = root.join(file);
        fs::make_dirs(path.parent().unwrap_or(root))?;
        fs::write_atomic(&path, b"fixture\n", 0o644)?;
    }
    ["layer/upper", "layer/work"].iter().try_for_each(|part| fs::make_dirs(&root.join(part)))
}

impl Fixtures {
    /// Those for the attempts outside of a sandbox, which root does not make itself, or those for inside.
    pub fn new(outside: bool) -> Result<Fixtures> {
        let name = format!("sbox-doctor-{}-{}", std::process::id(), u32::from(outside));
        let root = fs::temporary().join(&name);
        // Nobody else's business: what lies here is run.
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&root).context(|| format!("make '{}'", libsbox::escape::visible_path(&root)))?;
        let root = root.canonicalize().context(|| "find the fixtures".into())?;
        let canary = fs::sha256(format!("{name}{:?}", std::time::SystemTime::now()).as_bytes())[..24].to_owned();
        make_files(&root)?;
        if becomes_nobody() {
            open(&root, outside)?;
        }
        let program = root.join("sbox-attempt");
        let installed = plumbing::exec_path()?.join("sbox-attempt");
        std::fs::copy(&installed, &program)
            .context(|| format!("copy '{}'", libsbox::escape::visible_path(&installed)))?;
        let mut bystander = Command::new("sleep");
        bystander.arg("600").env("SBOX_DOCTOR_TOKEN", &canary).stdin(Stdio::null());
        as_nobody(&mut bystander);
        let shown = || String::from("make something to be reached");
        let loopback = TcpListener::bind("127.0.0.1:0").context(shown)?;
        let address = SocketAddr::from_abstract_name(&name).context(shown)?;
        let listeners = (
            loopback,
            UnixListener::bind(root.join("agent.socket")).context(shown)?,
            UnixListener::bind_addr(&address).context(shown)?,
        );
        let _ = std::fs::set_permissions(root.join("agent.socket"), std::fs::Permissions::from_mode(0o666));
        let shm = Path::new("/dev/shm").join(&name);
        let _ = std::fs::write(&shm, "fixture");
        let port = listeners.0.local_addr().context(shown)?.port();
        Ok(Fixtures {
            bystander: bystander.spawn().context(|| "start 'sleep'".into())?,
            root,
            port,
            abstract_name: name,
            shm,
            canary,
            _listeners: listeners,
        })
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Those of a copy-on-write mount: `seen` shows the same directory as it is.
    pub fn of_tree(&self, seen: &str) -> Vec<String> {
        let path = |name: &str, below: &str| format!("{name}={}", self.path(below).display());
        let all = [path("tree", "tree"), path("seen", seen), path("layer", "layer")];
        all.into_iter().flat_map(|fixture| ["--fixture".to_owned(), fixture]).collect()
    }

    /// As `sbox-attempt` wants them.
    pub fn arguments(&self) -> Vec<String> {
        let path = |below: &str| self.path(below).display().to_string();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        [
            ("secret", path("secret/file")),
            ("data", path("data")),
            ("work", path("work")),
            ("pid", self.bystander.id().to_string()),
            ("socket", path("agent.socket")),
            ("abstract", self.abstract_name.clone()),
            ("port", self.port.to_string()),
            ("shm", self.shm.display().to_string()),
            ("canary", self.canary.clone()),
            ("host-name", host),
        ]
        .into_iter()
        .flat_map(|(name, value)| ["--fixture".to_owned(), format!("{name}={value}")])
        .collect()
    }

    /// A command that starts `words` as a careless caller does: with a token, the way to an agent, and a directory left
    /// open.
    pub fn carelessly<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec 9<\"$0\"; exec \"$@\""]).arg(self.path("secret")).args(words);
        command.env("SBOX_DOCTOR_TOKEN", &self.canary).env("SSH_AUTH_SOCK", self.path("agent.socket"));
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Fixtures {
    fn drop(&mut self) {
        let _ = self.bystander.kill();
        let _ = self.bystander.wait();
        let _ = std::fs::remove_file(&self.shm);
        let _ = fs::remove_tree(&self.root);
    }
}

/// The uid and gid that own nothing, on every Linux.
const NOBODY: u32 = 65534;

/// A control of root's runs as nobody, and has to get at all of it, as an owner. The directory itself and the program in
/// it stay root's.
fn open(root: &Path, give: bool) -> Result<()> {
    let shown = || String::from("open the fixtures");
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).context(shown)?;
    for part in ["secret", "data", "work", "tree", "layer"] {
        for entry in walk(&root.join(part)) {
            let mode = if entry.is_dir() { 0o755 } else { 0o644 };
            std::fs::set_permissions(&entry, std::fs::Permissions::from_mode(mode)).context(shown)?;
            if give {
                std::os::unix::fs::chown(&entry, Some(NOBODY), Some(NOBODY)).context(shown)?;
            }
        }
    }
    Ok(())
}

/// Whether this is root, of a machine or a container that has somebody else, too. Where there is one uid only, as in a
/// sandbox, root has the rights of one user.
fn becomes_nobody() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let is_mapped = map.lines().any(|line| {
        let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        matches!(fields[..], [first, _, count] if (first..first + count).contains(&u64::from(NOBODY)))
    });
    is_mapped && rustix::process::geteuid().is_root()
}

fn walk(root: &Path) -> Vec<PathBuf> {
    let mut all = vec![root.to_owned()];
    let mut at = 0;
    while at < all.len() {
        let below = std::fs::read_dir(&all[at]).into_iter().flatten().flatten().map(|entry| entry.path());
        all.extend(below.collect::<Vec<_>>());
        at += 1;
    }
    all
}

/// Nothing is tried with root's rights outside of a sandbox.
pub fn as_nobody(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    if becomes_nobody() {
        command.uid(NOBODY).gid(NOBODY);
    }
}

/// The error of a program that said nothing that can be read.
pub fn strange(what: &str) -> Error {
    Error::new(format!("unexpected output from 'sbox-attempt': {}", libsbox::escape::visible(what)))
}
