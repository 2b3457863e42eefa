//! A channel as the records had it, a cache, a home, and the stand-in in the sandbox that our program makes.

use super::record::{self, Record};
use crate::common::conda::{Conda, need_conda, recorded};
use crate::common::http::{Request, Server, send};
use crate::common::{Scratch, need_sandbox};
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Output;

pub struct Bench {
    pub scratch: Scratch,
    pub server: Server,
    conda: &'static Conda,
    pub channels: PathBuf,
}

/// A port of this host that nothing listens at.
const CLOSED: &str = "9";

impl Bench {
    pub fn new(name: &str) -> Option<Bench> {
        if !need_sandbox() {
            return None;
        }
        let conda = need_conda()?;
        let channels = recorded(conda);
        let bench = Bench { scratch: Scratch::new(name), server: server(channels.clone()), conda, channels };
        bench.fresh();
        Some(bench)
    }

    /// Everything from nothing.
    pub fn fresh(&self) {
        for name in ["cache", "home", "root", "place"] {
            let _ = std::fs::remove_dir_all(self.at(name));
            std::fs::create_dir_all(self.at(name)).unwrap();
        }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    /// A package's place in the cache.
    pub fn cached(&self, place: &str) -> PathBuf {
        self.at("cache").join(format!("http/127.0.0.1_{}/{place}", self.server.port))
    }

    /// Writes a list of packages, each with the hash that it has, as `kind` wants it.
    pub fn list(&self, packages: &[&str], kind: &str) {
        let mut text = String::from("@EXPLICIT\n");
        for place in packages {
            let file = place.rsplit('/').next().unwrap();
            let of = |tool: &str| {
                let found = ["linux-64", "linux-aarch64", "noarch"]
                    .map(|subdir| self.channels.join("extra").join(subdir).join(file))
                    .into_iter()
                    .find(|path| path.exists());
                let output = std::process::Command::new(tool).arg(found.unwrap()).output().unwrap();
                String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
            };
            let hash = match kind {
                "md5" => format!("#{}", of("md5sum")),
                "md5:" => format!("#md5:{}", of("md5sum")),
                "sha256" => format!("#sha256:{}", of("sha256sum")),
                "sha256 alone" => format!("#{}", of("sha256sum")),
                other => other.to_owned(),
            };
            text += &format!("{}{hash}\n", self.server.url(place));
        }
        std::fs::write(self.at("home/packages.txt"), text).unwrap();
    }

    /// Runs what a record has run.
    pub fn run(&self, record: &Record) -> Output {
        let is_link = record.words.contains(&"--always-copy".to_owned());
        let mut command = self.scratch.program("sbox-spawn");
        command.args(["--network", if is_link { "none" } else { "host" }]);
        for name in ["home", "root", "place"] {
            command.arg("--bind-nofollow").args([self.at(name), self.at(name)]);
        }
        let cache = self.at("cache");
        command.arg(if is_link { "--ro-bind" } else { "--bind-nofollow" }).args([&cache, &cache]);
        for path in [&self.conda.micromamba, &self.channels] {
            command.arg("--ro-bind").args([path, path]);
        }
        let path = |name: &str| self.at(name).display().to_string();
        let pkgs = if is_link { format!("{},{}", path("home/pkgs"), path("cache")) } else { path("cache") };
        for (name, value) in [
            ("HOME", &path("home")),
            ("TMPDIR", &path("home")),
            ("MAMBA_ROOT_PREFIX", &path("root")),
            ("CONDA_PKGS_DIRS", &pkgs),
            ("PATH", &"/usr/local/bin:/usr/bin:/bin".to_owned()),
        ] {
            command.args(["--setenv", name, value]);
        }
        command.arg("--").arg(&self.conda.micromamba);
        command.args(record.words.iter().map(|word| self.real(word)));
        command.output().unwrap()
    }

    /// What a placeholder stands for.
    fn real(&self, word: &str) -> String {
        let mut word = word.replace("file:///channels", &format!("file://{}", self.channels.display()));
        for (name, place) in [("HOME", "home"), ("PREFIX", "place/env"), ("CACHE", "cache"), ("ROOT", "root")] {
            if word == name || word.starts_with(&format!("{name}/")) {
                word = word.replacen(name, &self.at(place).display().to_string(), 1);
            }
        }
        word.replace(":PORT", &format!(":{}", self.server.port)).replace(":CLOSED", &format!(":{CLOSED}"))
    }

    /// The other way round.
    pub fn neutral(&self, text: &str) -> String {
        let mut text = text.replace(&format!("file://{}", self.channels.display()), "file:///channels");
        for (name, place) in [("PREFIX", "place/env"), ("HOME", "home"), ("CACHE", "cache"), ("ROOT", "root")] {
            text = text.replace(&self.at(place).display().to_string(), name);
        }
        text = text.replace(&self.conda.micromamba.display().to_string(), "micromamba");
        for (number, name) in [(self.server.port.to_string(), "PORT"), (CLOSED.to_owned(), "CLOSED")] {
            for (before, after) in [
                ("127.0.0.1:", "/"),
                ("127.0.0.1:", "]"),
                ("127.0.0.1_", "/"),
                ("localhost:", "/"),
                ("localhost_", "/"),
                ("port ", " "),
            ] {
                text = text.replace(&format!("{before}{number}{after}"), &format!("{before}{name}{after}"));
            }
            text = text.replace(&format!("127.0.0.1:{number}\""), &format!("127.0.0.1:{name}\""));
        }
        text
    }

    /// Runs what a record has run, and compares how it ends and what it says.
    pub fn check(&self, file: &str, record: &Record) {
        let output = self.run(record);
        let [stdout, stderr] =
            [&output.stdout, &output.stderr].map(|bytes| self.neutral(&String::from_utf8_lossy(bytes)));
        let what = format!("{file}.txt, {}\n{stderr}{stdout}", record.title);
        assert_eq!(output.status.code(), Some(record.exit), "{what}");
        assert_eq!(record::said(&stderr), record::said(record.section("stderr").unwrap()), "{what}");
        let expected = record.section("stdout").unwrap();
        match (expected.starts_with('{'), expected.starts_with('(')) {
            (true, _) => assert_eq!(record::value(&stdout), record::value(expected), "{what}"),
            // A note in the place of an answer.
            (false, true) if !expected.contains("Transaction starting") => {}
            (false, _) if expected.starts_with("to stdout\n{") => assert!(stdout.starts_with("to stdout\n{"), "{what}"),
            (false, _) => assert_eq!(record::said(&stdout), record::said(expected), "{what}"),
        }
    }

    /// Compares a directory with a tree of a record, as deep as that was drawn.
    pub fn check_tree(&self, directory: &Path, expected: &[String]) {
        let has_children =
            |place: &str| expected.iter().any(|path| path.len() > place.len() && path.starts_with(place));
        let mut found = Vec::new();
        let mut walk = walkdir::WalkDir::new(directory).min_depth(1).into_iter();
        while let Some(entry) = walk.next() {
            let entry = entry.unwrap();
            let mut place = self.neutral(&entry.path().strip_prefix(directory).unwrap().to_string_lossy());
            place = place.replace(&format!("_{}", self.server.port), "_PORT");
            if entry.file_type().is_dir() {
                place += "/";
                if !has_children(&place) {
                    walk.skip_current_dir();
                }
            }
            found.push(place);
        }
        found.sort();
        assert_eq!(found, expected);
    }
}

/// The folders of the records that misbehave, beside the good ones.
fn server(root: PathBuf) -> Server {
    Server::start(move |request, stream| {
        let path = request.path().trim_start_matches('/');
        let path = path.strip_prefix("t/tk-1234/").unwrap_or(path);
        let (folder, rest) = path.split_once('/').unwrap_or((path, ""));
        let is_index = rest.contains("repodata");
        let of = |folder: &str| std::fs::read(root.join(folder).join(rest)).ok();
        let not_found = |stream: &mut TcpStream, body: &str| send(stream, "404 Not Found", "", body.as_bytes());
        match folder {
            "e404" => not_found(stream, &"x".repeat(21)),
            "e403" => send(stream, "403 Forbidden", "", "x".repeat(22).as_bytes()),
            "e500" => send(stream, "500 Internal Server Error", "", "x".repeat(27).as_bytes()),
            _ if rest.ends_with(".zst") => not_found(stream, "no"),
            // It takes the request, and says nothing until the other side has gone.
            "silent" => drop(std::io::Read::read(stream, &mut [0; 1])),
            "html" => send(stream, "200 OK", "", b"<html><title>Please log in</title></html>"),
            "badjson" => send(stream, "200 OK", "", b"{\"packages\": {"),
            "channel" | "extra" | "extra2" => match of(folder) {
                Some(content) => send(stream, "200 OK", "Last-Modified: Tue, 24 Nov 2026 17:34:19 GMT\r\n", &content),
                None => not_found(stream, "no"),
            },
            _ if is_index => send(stream, "200 OK", "", &of("extra").unwrap_or_default()),
            _ => bad(folder, request, stream, of("extra").unwrap_or_default()),
        }
    })
}

/// A good index, and bad packages.
fn bad(folder: &str, request: &Request, stream: &mut TcpStream, mut content: Vec<u8>) {
    let half = content.len() / 2;
    match folder {
        "badhash" => {
            content[half] ^= 1;
            send(stream, "200 OK", "", &content);
        }
        "short" => send(stream, "200 OK", "", &content[..half]),
        "broken" => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&content[..half]));
        }
        "pkghtml" => send(stream, "200 OK", "", b"<html><title>Please log in</title></html>"),
        "pkg500" => send(stream, "500 Internal Server Error", "", b"no"),
        "flaky" if request.number == 0 => send(stream, "503 Service Unavailable", "", b"no"),
        "flaky" => send(stream, "200 OK", "", &content),
        _ => send(stream, "404 Not Found", "", b"no"),
    }
}
