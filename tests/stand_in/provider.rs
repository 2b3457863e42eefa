//! What `sbox-mkenv-conda` makes of what micromamba does: on the channels of the records, whose packages are small.

use super::bench::Bench;
use super::{SMALL_2, bench};
use crate::common::conda::{before, need_conda};
use crate::common::{stderr, stdout};
use assert_cmd::Command;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

impl Bench {
    /// The provider, with a micromamba in its cache, and `channel` beside those that are named.
    fn provider(&self, channels: &[&str], packages: &[&str]) -> Command {
        self.asked("sbox-mkenv-conda", channels, packages)
    }

    fn asked(&self, program: &str, channels: &[&str], packages: &[&str]) -> Command {
        let place = self.scratch.path("sbox/bin/micromamba");
        if !place.exists() {
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::copy(&need_conda().unwrap().micromamba, &place).unwrap();
        }
        let mut command = self.scratch.program(program);
        command.env("SBOX_CACHE", self.scratch.path("sbox")).timeout(Duration::from_secs(120));
        for channel in std::iter::once("channel").chain(channels.iter().copied()) {
            command.arg("--channel");
            command.arg(if channel.contains("://") { channel.to_owned() } else { self.server.url(channel) });
        }
        command.args(packages.iter().flat_map(|package| ["--package", package]));
        command
    }

    /// Builds, and gives what was refused and why.
    fn refusal(&self, channels: &[&str], packages: &[&str], options: &[&str]) -> String {
        let mut command = self.provider(channels, packages);
        let output = command.args(options).arg("node:22").arg(self.at("env")).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}{}", stdout(&output), stderr(&output));
        let answer: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert!(!self.at("env").exists());
        answer["refused"].as_str().unwrap().to_owned()
    }

    fn build(&self, channels: &[&str], packages: &[&str], options: &[&str], name: &str) -> (serde_json::Value, String) {
        let mut command = self.provider(channels, packages);
        let output = command.args(options).arg("node:22").arg(self.at(name)).output().unwrap();
        assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
        (serde_json::from_str(&stdout(&output)).unwrap(), stderr(&output))
    }

    /// Waits until the script that hangs was linked: then it runs, or is about to.
    fn wait_for_script(&self, build: &std::thread::ScopedJoinHandle<'_, Output>) {
        let is_there = || {
            walkdir::WalkDir::new(&self.scratch.root)
                .into_iter()
                .flatten()
                .any(|entry| entry.file_name() == "hangs" && entry.file_type().is_file())
        };
        while !is_there() {
            assert!(!build.is_finished(), "it never began");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How often a file was asked for.
    fn gets(&self, name: &str) -> usize {
        self.server
            .requests()
            .iter()
            .filter(|request| request.line.starts_with("GET ") && request.path().contains(name))
            .count()
    }

    fn pkgs(&self, place: &str) -> PathBuf {
        self.scratch.path("sbox/pkgs").join(format!("http/127.0.0.1_{}/{place}", self.server.port))
    }
}

/// Whether a word is in any file below a directory.
fn is_anywhere(dir: &Path, word: &str) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(dir).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    let has = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains(word);
    files.map(|entry| entry.path().to_owned()).filter(|path| has(path)).collect()
}

#[test]
fn a_reader_of_a_refusal_knows_what_to_change() {
    let Some(bench) = bench("provider-refuses") else { return };
    let url = |name: &str| bench.server.url(name);
    let file = format!("file://{}/extra2", bench.channels.display());
    let cases: [(&[&str], &[&str], String); 14] = [
        (&[], &["nosuchthing"], "the channels have no package 'nosuchthing': is the name right".into()),
        (&["extra"], &["small=7"], "the channels do not have 'small 7'; they have 2.0, 1.0".into()),
        (&["extra"], &["nosuchthing", "small >=9"], "the channels do not have 'small >=9'; they have 2.0, 1.0".into()),
        (
            &["extra"],
            &["small=1.0", "small=2.0"],
            "cannot be installed together: 'small 1.0' and 'small 2.0' are both asked for".into(),
        ),
        (&["extra"], &["oldonly", "python=3.12"], "'oldonly' needs python 3.11, and 'python 3.12' is asked for".into()),
        (
            &[&file],
            &["wantsnew"],
            "'wantsnew' needs python 3.13, which the channels do not have; they have 3.12.1, 3.11.7".into(),
        ),
        (&["extra"], &["virt"], "'virt' needs __cuda >=99 of the machine".into()),
        (&[], &["=3"], "a package is not written as conda writes it:".into()),
        (
            &["html"],
            &["x"],
            format!("channel '{}/", url("html")) + "linux-64' answers with a web page, 'Please log in',",
        ),
        (&["badjson"], &["x"], "JSON that breaks off in place of an index".into()),
        (&["e404"], &[], format!("cannot reach channel '{}': the server has no channel there (404)", url("e404"))),
        (&["e403"], &[], format!("cannot reach channel '{}': the server does not allow it (403)", url("e403"))),
        (&["e500"], &[], format!("cannot reach channel '{}': the server failed (500)", url("e500"))),
        (
            &["http://127.0.0.1:9/x"],
            &[],
            "cannot reach channel 'http://127.0.0.1:9/x': '127.0.0.1:9': connection refused".into(),
        ),
    ];
    for (channels, packages, expected) in cases {
        let why = bench.refusal(channels, packages, &[]);
        // Either of a channel's folders may be the one that is named.
        let expected = expected.replace("linux-64'", if why.contains("/noarch'") { "noarch'" } else { "linux-64'" });
        assert!(why.contains(&expected), "{expected}: {why}");
        for word in ["mamba clean", "orrupt", "{", "unsupported request", "libmamba"] {
            assert!(!why.contains(word), "{word}: {why}");
        }
    }
    // A page in the place of an index is asked for again, and not an empty channel for an hour.
    let before = bench.gets("html/");
    bench.refusal(&["html"], &["x"], &[]);
    assert!(bench.gets("html/") > before);
}

#[test]
fn a_package_that_cannot_be_fetched_is_asked_for_a_few_times_at_most() {
    let Some(bench) = bench("provider-fetches") else { return };
    let of = |folder: &str| bench.server.url(&SMALL_2.replace("extra", folder));
    for (folder, expected, most) in [
        ("pkg404", format!("cannot reach package '{}': the server no longer has it (404)", of("pkg404")), 1),
        ("pkg500", format!("cannot reach package '{}': the server failed (500)", of("pkg500")), 8),
        ("broken", format!("cannot reach package '{}': the transfer broke off", of("broken")), 4),
        ("badhash", "a package is not what its hash says, and was not when it was fetched again".into(), 2),
    ] {
        let why = bench.refusal(&[folder], &["small"], &[]);
        assert!(why.contains(&expected), "{expected}: {why}");
        let gets = bench.gets(&format!("/{folder}/linux-64/small"));
        assert!((1..=most).contains(&gets), "{folder}: {gets}");
    }
}

#[test]
fn passwords_and_tokens_stay_with_micromamba() {
    let Some(bench) = bench("provider-secrets") else { return };
    let port = bench.server.port;
    let channels =
        [format!("http://user:secret@127.0.0.1:{port}/extra"), format!("http://127.0.0.1:{port}/t/tk-1234/extra2")];
    let channels: Vec<&str> = channels.iter().map(String::as_str).collect();
    let (made, words) = bench.build(&channels, &["small", "python", "wheel"], &[], "env");
    assert!(made["packages"].as_array().unwrap().iter().any(|one| one["url"] == bench.server.url(SMALL_2)), "{made}");
    let authorized = |request: &crate::common::http::Request| {
        request.path().contains("small") && request.header("authorization").is_some()
    };
    assert!(bench.server.requests().iter().any(authorized));
    for word in ["secret", "tk-1234", "*****"] {
        assert!(!made.to_string().contains(word) && !words.contains(word), "{made}{words}");
        assert_eq!(is_anywhere(&bench.at("env"), word), [] as [PathBuf; 0]);
        let notes = is_anywhere(&bench.at("sbox/pkgs"), word);
        // The program is there, too; and what micromamba noted of the index has stars.
        assert!(notes.iter().all(|path| path.ends_with("state.json") || word == "*****"), "{word}: {notes:?}");
    }
    // The list of a lock is fetched with them again.
    let lock = bench.scratch.write("lock.json", &made["packages"].to_string());
    std::fs::remove_dir_all(bench.at("sbox/pkgs")).unwrap();
    let before = bench.gets("small");
    bench.build(&channels, &["small", "python", "wheel"], &["--lock", lock.to_str().unwrap()], "locked");
    assert_eq!(bench.gets("small"), before + 1);
    assert_eq!(is_anywhere(&bench.at("sbox/pkgs"), "secret"), [] as [PathBuf; 0]);
}

#[test]
fn damage_is_repaired_in_the_cache_without_a_server() {
    let Some(bench) = bench("provider-damage") else { return };
    bench.build(&["extra"], &["small"], &[], "one");
    let folder = SMALL_2.trim_end_matches(".conda");
    let file = bench.pkgs(&format!("{folder}/share/plain.txt"));
    for options in [&[][..], &["--offline"]] {
        std::fs::write(&file, "PLAIN 2\n").unwrap();
        let before = bench.gets("small");
        bench.build(&["extra"], if options.is_empty() { &["small", "generic"] } else { &["small"] }, options, "again");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "plain 2\n");
        assert_eq!(std::fs::read_to_string(bench.at("again/share/plain.txt")).unwrap(), "plain 2\n");
        assert_eq!(bench.gets("small"), before, "the archive is there");
        std::fs::remove_dir_all(bench.at("again")).unwrap();
    }
    // A record that is gone is not damage: nothing is said, and nothing is fetched.
    std::fs::remove_file(bench.pkgs(&format!("{folder}/info/repodata_record.json"))).unwrap();
    let before = bench.gets("small");
    let (_, words) = bench.build(&["extra"], &["small"], &[], "again");
    assert!(!words.contains("damaged"), "{words}");
    assert_eq!(bench.gets("small"), before);
}

#[test]
fn offline_nothing_is_fetched_and_what_is_missing_is_listed() {
    let Some(bench) = bench("provider-offline") else { return };
    let why = bench.refusal(&["extra"], &["small"], &["--offline"]);
    assert!(why.contains("nothing is known of channel") && why.contains("--offline"), "{why}");
    let (made, _) = bench.build(&["extra"], &["small"], &[], "one");
    let lock = bench.scratch.write("lock.json", &made["packages"].to_string());
    let folder = SMALL_2.trim_end_matches(".conda");
    std::fs::remove_dir_all(bench.pkgs(folder)).unwrap();
    std::fs::remove_file(bench.pkgs(SMALL_2)).unwrap();
    let lock = lock.to_str().unwrap();
    for options in [&["--offline"][..], &["--offline", "--lock", lock]] {
        let why = bench.refusal(&["extra"], &["small"], options);
        assert!(
            why.contains("1 package is not in the cache") && why.contains("missing in the cache: small 2.0"),
            "{why}"
        );
    }
    // It is there, damaged, and its archive is gone: only a server could repair it.
    bench.build(&["extra"], &["small"], &[], "two");
    std::fs::remove_file(bench.pkgs(SMALL_2)).unwrap();
    std::fs::write(bench.pkgs(&format!("{folder}/share/plain.txt")), "PLAIN 2\n").unwrap();
    let before = bench.server.requests().len();
    bench.refusal(&["extra"], &["small"], &["--offline", "--lock", lock]);
    assert_eq!(bench.server.requests().len(), before, "micromamba's own --offline would fetch what a list names");
}

#[test]
fn a_channel_that_falls_silent_is_given_up() {
    let Some(bench) = bench("provider-silent") else { return };
    let mut command = bench.provider(&["silent"], &[]);
    let start = Instant::now();
    let output = command.env("SBOX_CHANNEL_TIMEOUT", "2").arg("node:22").arg(bench.at("env")).output().unwrap();
    assert!(stdout(&output).contains("sent nothing for 2s"), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains(&bench.server.url("silent")));
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_script_that_fails_is_reported_and_one_that_leaves_something_holds_nobody() {
    let Some(bench) = bench("provider-scripts") else { return };
    let start = Instant::now();
    let (_, words) = bench.build(&["extra"], &["script-fails", "script-leaves", "script-env"], &[], "env");
    assert!(start.elapsed() < Duration::from_secs(110), "what it left is not waited for");
    assert!(words.contains("the post-link script of 'script-fails' failed with exit status 3"), "{words}");
    assert!(words.contains("to stderr") && !words.contains("script-env"), "{words}");
    // What stands in the environment is the package's own, as it is noted.
    let script = std::fs::read(bench.at("env/bin/.script-fails-post-link.sh")).unwrap();
    assert!(String::from_utf8_lossy(&script).ends_with("exit 3\n"));
    let record = std::fs::read_to_string(bench.at("env/conda-meta/script-fails-1.0-h0_0.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let paths = record["paths_data"]["paths"].as_array().unwrap();
    let noted = paths.iter().find(|path| path["_path"] == "bin/.script-fails-post-link.sh").unwrap();
    assert_eq!(noted["sha256_in_prefix"], noted["sha256"]);
}

#[test]
fn a_script_that_hangs_is_ended_and_does_not_hold_the_cache() {
    let Some(bench) = bench("provider-hangs") else { return };
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| {
            let mut command = bench.provider(&["extra"], &["script-hangs"]);
            command.env("SBOX_LINK_TIMEOUT", "20").arg("node:22").arg(bench.at("hangs")).output().unwrap()
        });
        bench.wait_for_script(&hanging);
        bench.build(&["extra"], &["small"], &[], "other");
        assert!(!hanging.is_finished(), "another build is made meanwhile");
        let output = hanging.join().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("linking was not done in 20s") && stderr(&output).contains("SBOX_LINK_TIMEOUT"),
            "{}",
            stderr(&output)
        );
    });
    assert!(!bench.at("hangs").exists());
}

#[test]
fn a_script_that_hangs_holds_up_no_other_request_for_the_same_runtime() {
    let Some(bench) = bench("provider-requests") else { return };
    let build = |package: &str, name: &str| {
        let mut command = bench.asked("sbox-mkenv", &["extra"], &[package]);
        command.args(["--provider", "conda", "node:22"]).arg(bench.at(name));
        command
    };
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| build("script-hangs", "hangs").env("SBOX_LINK_TIMEOUT", "30").output().unwrap());
        bench.wait_for_script(&hanging);
        let output = build("small", "other").output().unwrap();
        let words = stderr(&output);
        assert!(output.status.success() && !words.contains("waiting for another build"), "{words}");
        // Nor did it tidy away what is being made.
        let drafts = std::fs::read_dir(bench.at("sbox/runtimes/node-22")).unwrap().flatten();
        let count = drafts.filter(|entry| entry.file_name().to_string_lossy().starts_with(".draft-")).count();
        assert!(count == 1 || hanging.is_finished());
        assert_eq!(hanging.join().unwrap().status.code(), Some(1));
    });
    assert!(bench.at("other/share/plain.txt").exists() && !bench.at("hangs").exists());
}

#[test]
fn a_micromamba_from_before_2_6_builds_cold_and_from_its_cache() {
    let Some(bench) = bench("provider-before") else { return };
    let place = bench.scratch.path("sbox/bin/micromamba");
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::copy(before(need_conda().unwrap()), &place).unwrap();
    bench.build(&["extra"], &["small", "oldpkg"], &[], "one");
    assert!(bench.scratch.path("sbox/pkgs/small-2.0-h0_0/share/plain.txt").exists());
    let before = bench.gets(".conda") + bench.gets(".tar.bz2");
    bench.build(&["extra"], &["small", "oldpkg"], &["--offline"], "two");
    // A newer one takes over what is there, and moves nothing.
    std::fs::copy(&need_conda().unwrap().micromamba, &place).unwrap();
    bench.build(&["extra"], &["small", "oldpkg"], &[], "three");
    assert_eq!(bench.gets(".conda") + bench.gets(".tar.bz2"), before);
    assert!(!bench.pkgs("extra").exists());
}

#[test]
fn a_full_disk_is_called_that_and_nothing_is_fetched_again() {
    let Some(bench) = bench("provider-full") else { return };
    let is_possible =
        std::process::Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success());
    if !is_possible {
        crate::common::skip::skip("it needs a mount namespace with a file system of its own");
        return;
    }
    // Made while there is room, so that only the large package is to be fetched.
    bench.build(&["extra"], &["small"], &[], "one");
    for (size, place) in [("3m", "sbox/pkgs"), ("9m", "sbox/pkgs")] {
        let before = bench.gets("big");
        let mut inner = bench.provider(&["extra"], &["big"]);
        inner.arg("node:22").arg(bench.at("env"));
        let mut command = Command::new("unshare");
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mount = "mount -t tmpfs -o size=\"$1\" none \"$2\" && shift 2 && exec \"$@\"";
        command
            .args(["-rm", "sh", "-c", mount, "sh", size])
            .arg(bench.at(place))
            .arg(inner.get_program())
            .args(inner.get_args());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}{}", stdout(&output), stderr(&output));
        assert!(
            stderr(&output).contains("there is no room for the packages") && stderr(&output).contains("SBOX_CACHE"),
            "{}",
            stderr(&output)
        );
        assert!(bench.gets("big") - before <= 1, "{size}");
    }
}
