//! A copy-on-write mount without a sandbox: an overlay in a namespace of its own, on a layer that our library made. What is
//! tested here is what our programs make of layers; that sandboxes have them is tested with sandboxes.

use super::Scratch;
use assert_cmd::Command;
use libsbox::cow::{self, Kind, Layer};
use libsbox::model::Isolation;
use libsbox::project::Project;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};

/// A project whose own directory is mounted copy-on-write.
pub struct Tree {
    pub scratch: Scratch,
    project: Project,
}

/// Whether this host can mount an overlay in a user namespace.
pub fn need_overlay() -> bool {
    use std::sync::OnceLock;
    static WORKS: OnceLock<bool> = OnceLock::new();
    let works = *WORKS.get_or_init(|| {
        let tree = Tree::new("cow-probe");
        tree.inside("true")
    });
    works || super::skip::skip_unless("SBOX_TEST_MUST_SANDBOX", "this host cannot mount an overlay")
}

/// Waits until a later change has a later time: they go in steps.
pub fn tick() {
    let now = cow::now();
    while cow::now() == now {
        std::hint::spin_loop();
    }
}

/// A run that uses the layer: a process of its own, because whatever a process starts inherits the lock that says so, and
/// tests start programs at the same time.
pub struct Run {
    process: Child,
    answers: BufReader<ChildStdout>,
    at: PathBuf,
}

impl Run {
    fn answer(&mut self) -> String {
        let lines = self.answers.by_ref().lines().map(Result::unwrap);
        let mut answers = lines.filter_map(|line| line.split_once("cow: ").map(|(_, answer)| answer.to_owned()));
        answers.next().expect("an answer")
    }

    /// Runs a script as the agent in the mounted tree. Whether it succeeded.
    pub fn inside(&mut self, script: &str) -> bool {
        let at = self.at.to_str().unwrap();
        let line = serde_json::to_string(&[at, script]).unwrap();
        writeln!(self.process.stdin.as_mut().unwrap(), "{line}").unwrap();
        self.answer() == "ok"
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The other side of [`Run`], and a test of nothing when it is started as one.
#[test]
fn a_run_in_a_process_of_its_own() {
    let Some(root) = std::env::var_os("SBOX_TEST_COW") else { return };
    let project = Project::at(Path::new(&root)).unwrap();
    let mounts = libsbox::check::load(&project).unwrap().mount;
    let overlay = std::env::var("SBOX_TEST_COW_KIND").is_ok_and(|kind| kind == "overlay");
    let level = if overlay { Isolation::Namespace } else { Isolation::Landlock };
    tick();
    let used = cow::begin(&project, (&mounts, &mounts[0]), level, &|_, _, _| overlay).unwrap();
    tick();
    say("begun");
    for line in std::io::stdin().lines() {
        let [at, script]: [String; 2] = serde_json::from_str(&line.unwrap()).unwrap();
        let answer = if mounted(&used[0].layer, Path::new(&at), &script).success() { "ok" } else { "failed" };
        say(answer);
    }
}

/// A line that the other side knows from what the test harness prints.
fn say(answer: &str) {
    let mut stdout = std::io::stdout();
    stdout.write_all(format!("\ncow: {answer}\n").as_bytes()).unwrap();
    stdout.flush().unwrap();
}

/// Runs a script in an overlay on a layer, or in a private copy.
fn mounted(layer: &Layer, at: &Path, script: &str) -> std::process::ExitStatus {
    if layer.kind() == Kind::Copy {
        let copy = layer.changes();
        return std::process::Command::new("sh").args(["-ec", script]).current_dir(copy).status().unwrap();
    }
    let mount = "mount -t overlay cow -o userxattr,lowerdir=\"$1\",upperdir=\"$2/upper\",workdir=\"$2/work\" \"$3\" \
                 && cd \"$3\" && exec sh -ec \"$4\"";
    std::fs::create_dir_all(at).unwrap();
    std::process::Command::new("unshare")
        .args(["-Urm", "sh", "-c", mount, "sh"])
        .args([layer.src(), layer.path(), at])
        .arg(script)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .status()
        .unwrap()
}

impl Tree {
    pub fn new(name: &str) -> Tree {
        Tree::with(name, "")
    }

    /// The same where overlays can be mounted; says that the test is skipped where none can.
    pub fn overlay(name: &str) -> Option<Tree> {
        need_overlay().then(|| Tree::new(name))
    }

    /// With more lines in the configuration.
    pub fn with(name: &str, more: &str) -> Tree {
        let scratch = Scratch::new(name);
        let root = scratch.project("p", &format!("runtime: node:22\nmount:\n  - .:/work:cow\n{more}"));
        Tree { scratch, project: Project::at(&root).unwrap() }
    }

    pub fn root(&self) -> PathBuf {
        self.project.root().to_owned()
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.root().join(below)
    }

    pub fn write(&self, below: &str, text: &str) {
        self.scratch.write(&format!("p/{below}"), text);
    }

    pub fn read(&self, below: &str) -> String {
        std::fs::read_to_string(self.path(below)).unwrap()
    }

    /// Begins a run: the layer of `/work` in use, until what this gives is dropped.
    pub fn begin(&self) -> Run {
        self.begin_as("overlay")
    }

    /// The same, as an `overlay` or as a private `copy`.
    pub fn begin_as(&self, kind: &str) -> Run {
        let mut process = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "common::cow::a_run_in_a_process_of_its_own", "--nocapture"])
            .env("SBOX_TEST_COW", self.root())
            .env("SBOX_TEST_COW_KIND", kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let mut run = Run { process, answers, at: self.scratch.path("mounted") };
        assert_eq!(run.answer(), "begun");
        run
    }

    /// Runs a script as the agent: in a run of its own, in the mounted tree. Whether it succeeded.
    pub fn inside(&self, script: &str) -> bool {
        self.begin().inside(script)
    }

    /// The same, and copies what the agent sees.
    pub fn inside_and_copy(&self, script: &str, to: &Path) -> bool {
        let copy = format!("mkdir '{0}'; tar -c --exclude=./.sbox . | tar -x -p -C '{0}'", to.display());
        self.inside(&format!("{script}\n{copy}"))
    }

    /// The directory of the layer.
    pub fn layer(&self) -> PathBuf {
        let mut found = std::fs::read_dir(self.path(".sbox/cow")).unwrap();
        found.next().unwrap().unwrap().path()
    }

    /// What is in the upper directory, without directories.
    pub fn upper(&self) -> Vec<String> {
        let upper = self.layer().join("upper");
        let files = walkdir::WalkDir::new(&upper).min_depth(1).sort_by_file_name().into_iter().map(Result::unwrap);
        let name = |entry: walkdir::DirEntry| entry.path().strip_prefix(&upper).unwrap().display().to_string();
        files.map(name).collect()
    }

    pub fn sbox(&self) -> Command {
        self.scratch.sbox("p")
    }
}

/// Everything of a tree but the project's own state, to be compared: kinds, modes, contents.
pub fn snapshot(root: &Path) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let own = |entry: &walkdir::DirEntry| entry.path().strip_prefix(root).is_ok_and(|path| path == Path::new(".sbox"));
    let entries = walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter();
    let line = |entry: walkdir::DirEntry| {
        let path = entry.path();
        let metadata = path.symlink_metadata().unwrap();
        let content = match metadata.file_type() {
            kind if kind.is_symlink() => format!("-> {}", std::fs::read_link(path).unwrap().display()),
            kind if kind.is_file() => format!("{:?}", String::from_utf8_lossy(&std::fs::read(path).unwrap())),
            kind if kind.is_dir() => "directory".into(),
            _ => "special".into(),
        };
        let mode = if metadata.file_type().is_symlink() { 0 } else { metadata.permissions().mode() & 0o7777 };
        format!("{} {mode:o} {content}", path.strip_prefix(root).unwrap().display())
    };
    entries.filter_entry(|entry| !own(entry)).map(|entry| line(entry.unwrap())).collect()
}
