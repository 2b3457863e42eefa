//! A conda channel made of this host's interpreters, and a stand-in for micromamba (see `fixtures/conda`).

use super::http::Server;
use super::{Scratch, base, need_python, package};
use assert_cmd::Command;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What all tests of a run share: it is made once, and only read.
pub struct Conda {
    /// The stand-in: one file, as micromamba is.
    pub micromamba: PathBuf,
    /// The channel's files.
    pub channel: PathBuf,
    /// `python:3.12`, and the version that the channel has.
    pub python: (&'static str, String),
    /// The same for Node.js, if this host has one.
    pub node: Option<(String, String)>,
}

/// The channel and the stand-in, where there is a Python that a channel can be made of.
pub fn need_conda() -> Option<&'static Conda> {
    static MADE: OnceLock<Conda> = OnceLock::new();
    let spec = need_python()?;
    Some(MADE.get_or_init(|| make(spec)))
}

/// A stand-in for a version that lays out its cache as all did before 2.6.
pub fn before(conda: &Conda) -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let place = conda.micromamba.with_file_name("micromamba-2.3");
        let mut command = std::process::Command::new("python3");
        command.arg("-B").arg(package().join("tests/fixtures/conda/bundle.py")).arg(&place).arg("2.3.3");
        assert!(command.status().unwrap().success());
        place
    };
    MADE.get_or_init(make).clone()
}

/// The channels that the records were made with: `channel`, `extra` and `extra2` below one directory.
pub fn recorded(conda: &Conda) -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let place = conda.channel.with_file_name("recorded");
        let mut command = std::process::Command::new("python3");
        command.arg("-B").arg(package().join("tests/fixtures/conda/recorded.py")).arg(&place);
        assert!(command.arg(format!("/{}", "placehold_".repeat(26)[..254].to_owned())).status().unwrap().success());
        place
    };
    MADE.get_or_init(make).clone()
}

fn make(spec: &'static str) -> Conda {
    let place = base().join(format!("conda-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let fixtures = package().join("tests/fixtures/conda");
    let python = |script: &str| {
        let mut command = std::process::Command::new("python3");
        command.arg("-B").arg(fixtures.join(script));
        command
    };
    let micromamba = place.join("micromamba");
    assert!(python("bundle.py").arg(&micromamba).status().unwrap().success());
    // As conda-build does it: built at a path of 255 bytes, so that any that is shorter has room.
    let mut placeholder = place.to_string_lossy().into_owned();
    while placeholder.len() < 255 {
        let rest = 255 - placeholder.len() - 1;
        let length = if rest > 61 { 60 } else { rest };
        placeholder.push('/');
        placeholder.push_str(&"_h_env_placehold".repeat(4)[..length]);
    }
    let channel = place.join("channel");
    let mut command = python("channel.py");
    command.arg(&channel).arg(&placeholder);
    let mut provide = |spec: &str, kind: &str| -> Option<String> {
        std::fs::create_dir_all(Path::new(&placeholder).parent().unwrap()).unwrap();
        let scratch = Scratch::new("channel");
        let output = scratch.program("sbox-mkenv-host").args([spec, &placeholder]).output().unwrap();
        let made: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let version = made["version"].as_str()?.to_owned();
        std::fs::rename(&placeholder, place.join(kind)).unwrap();
        command.arg(format!("{kind}={version}={}", place.join(kind).display()));
        Some(version)
    };
    let version = provide(spec, "python").unwrap();
    let node = ["20", "22", "24", "18"].iter().find_map(|major| {
        let spec = format!("node:{major}");
        provide(&spec, "nodejs").map(|version| (spec, version))
    });
    assert!(command.status().unwrap().success());
    for kind in ["python", "nodejs"] {
        let _ = std::fs::remove_dir_all(place.join(kind));
    }
    Conda { micromamba, channel, python: (spec, version), node }
}

/// A cache of its own, a server with the channel, and projects that have micromamba placed in them.
pub struct Place {
    pub scratch: Scratch,
    pub server: Server,
    pub conda: &'static Conda,
}

impl Place {
    pub fn new(name: &str) -> Option<Place> {
        let conda = need_conda()?;
        Some(Place { scratch: Scratch::new(name), server: Server::of_files(conda.channel.clone()), conda })
    }

    /// A project with packages and no runtime to speak of: Node.js is large, Python is what there is.
    pub fn project(&self, name: &str, more: &str) -> PathBuf {
        let root = self.scratch.project(name, &self.configuration(more));
        self.place_micromamba(&root);
        root
    }

    /// The same, and nobody has accepted what it asks for.
    pub fn strange_project(&self, name: &str, more: &str) -> PathBuf {
        let root = self.scratch.strange_project(name, &self.configuration(more));
        self.place_micromamba(&root);
        root
    }

    fn configuration(&self, more: &str) -> String {
        format!("runtime: {}\nprovider: conda\nchannels: ['{}']\n{more}", self.conda.python.0, self.server.url(""))
    }

    pub fn place_micromamba(&self, root: &Path) {
        std::fs::create_dir_all(root.join(".sbox/bin")).unwrap();
        if std::fs::hard_link(&self.conda.micromamba, root.join(".sbox/bin/micromamba")).is_err() {
            std::fs::copy(&self.conda.micromamba, root.join(".sbox/bin/micromamba")).unwrap();
        }
    }

    pub fn sbox(&self, project: &str, words: &[&str]) -> Command {
        let mut command = self.scratch.program("sbox");
        command.current_dir(self.scratch.path(project)).env("SBOX_CACHE", self.scratch.path("cache")).args(words);
        command
    }

    /// Where the cache has a package: in the folder of its address.
    pub fn cached(&self, name: &str) -> PathBuf {
        self.scratch.path(&format!("cache/pkgs/http/127.0.0.1_{}/noarch/{name}", self.server.port))
    }

    /// How many packages were fetched.
    pub fn fetched(&self) -> usize {
        let is_package = |path: &str| path.ends_with(".conda") || path.ends_with(".tar.bz2");
        let requests = self.server.requests();
        requests.iter().filter(|request| request.line.starts_with("GET ") && is_package(request.path())).count()
    }
}
