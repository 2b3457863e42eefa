//! Every program where something is short or wrong: descriptors, processes, space, rights, streams, the environment. It ends
//! in time, by itself, and with words; never with a panic, a signal, or a success that lost data.

use crate::common::daemons::Standing;
use crate::common::skip::skip;
use crate::common::{is_root, need_program, need_sandbox, programs};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::time::Duration;

/// A host that does other things, too, takes its time; what hangs, hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What each program is started with: something that it does in earnest, in a project. Those that are not listed get
/// `--help`. `@` in a word is the directory above the project.
const LINES: &[(&str, &str)] = &[
    ("sbox", "--list-cmds"),
    ("sbox-apply", "-n"),
    ("sbox-archive", "list @/a.tar.gz"),
    ("sbox-archive", "extract -C @/out @/a.tar.gz"),
    ("sbox-archive", "verify @/tree"),
    ("sbox-ask", "--help"),
    ("sbox-attempt", "--list"),
    ("sbox-build", "--offline"),
    ("sbox-cache", "list"),
    ("sbox-cache", "clean"),
    ("sbox-cache", "info -j"),
    ("sbox-clean", ""),
    ("sbox-demo", "--help"),
    ("sbox-diff", ""),
    ("sbox-discard", "-f"),
    ("sbox-doctor", ""),
    ("sbox-envsh", ""),
    ("sbox-exec", "echo x"),
    ("sbox-fetch-mamba", "--retries 0 --url http://127.0.0.1:9/x"),
    ("sbox-fetch-mamba", "--print-url"),
    ("sbox-forward", "--user 0 --network 0 1:1"),
    ("sbox-info", ""),
    ("sbox-info", "-j"),
    ("sbox-init", "new"),
    ("sbox-logs", ""),
    ("sbox-mkenv", "--provider host --offline python:3 @/env"),
    ("sbox-mkenv-conda", "--offline python:3.11 @/env"),
    ("sbox-mkenv-host", "--resolve python:3"),
    ("sbox-mkenv-npm", "--resolve node:22"),
    ("sbox-mcp", ""),
    ("sbox-pack", "-o @/packed.tar.gz"),
    ("sbox-proxy", "--nonsense"),
    ("sbox-ps", "-a"),
    ("sbox-ps", "-g -j"),
    ("sbox-refresh", ""),
    ("sbox-relocate", "--from /nowhere/at/all --to /n @/tree"),
    ("sbox-report", ""),
    ("sbox-restart", "web"),
    ("sbox-rm", "--all"),
    ("sbox-run", "echo x"),
    ("sbox-run", "-d -n scarce true"),
    ("sbox-secrets", "--control 0"),
    ("sbox-shell", ""),
    ("sbox-spawn", "-- echo x"),
    ("sbox-spawn", "--probe"),
    ("sbox-stage", "--into @/staged --record @/record.json"),
    ("sbox-status", ""),
    ("sbox-status", "-j"),
    ("sbox-stop", "--all"),
    ("sbox-supervise", "--project @/p --name scarce -- sbox-spawn -- true"),
    ("sbox-trust", "-l"),
    ("sbox-unpack", "-n"),
    ("sbox-validate", ""),
    ("sbox-version", ""),
    ("sbox-wait", "web"),
    ("sbox-why", "/etc/passwd"),
];

/// All lines: those of the table, and one for each program that is not in it.
fn lines() -> Vec<(String, Vec<String>)> {
    let named =
        LINES.iter().map(|(name, line)| (name.to_string(), line.split_whitespace().map(String::from).collect()));
    let rest = programs().into_iter().filter(|name| !LINES.iter().any(|(known, _)| known == name));
    named.chain(rest.map(|name| (name, vec!["--help".to_owned()]))).collect()
}

/// A program with its line in a project of its own, not started yet.
struct Started {
    standing: Standing,
    name: String,
    words: Vec<OsString>,
    /// What it is started through: `sh -c`, `prlimit`.
    through: Vec<OsString>,
    environment: Vec<(OsString, Option<OsString>)>,
}

impl Started {
    fn new(name: &str, words: &[String]) -> Started {
        let standing = Standing::new(&format!("scarce-{name}"), "cmd: echo x\n");
        let base = standing.scratch.root.to_string_lossy().into_owned();
        standing.scratch.write("tree/f", "x");
        standing.scratch.write("tree/.sbox/SHA256SUMS", "");
        if words.iter().any(|word| word.ends_with("tar.gz")) {
            let mut tar = std::process::Command::new("tar");
            assert!(tar.args(["-czf", "a.tar.gz", "tree"]).current_dir(&base).status().unwrap().success());
        }
        let words = words.iter().map(|word| word.replace('@', &base).into()).collect();
        Started { standing, name: name.into(), words, through: Vec::new(), environment: Vec::new() }
    }

    fn run(&self) -> Output {
        let program = crate::common::bin().join(&self.name);
        let first = self.through.first().cloned().unwrap_or_else(|| program.clone().into());
        let mut command = assert_cmd::Command::new(first);
        if !self.through.is_empty() {
            command.args(&self.through[1..]).arg(&program);
        }
        command.args(&self.words).current_dir(self.standing.scratch.path("p")).env_clear().timeout(PATIENCE);
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", self.standing.scratch.home());
        command.env("SBOX_MAMBA_URL", "http://127.0.0.1:9/nothing-is-there").env("NO_COLOR", "1");
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.write_stdin("").output().unwrap()
    }
}

/// What is wrong with how a program ended.
fn complaint(output: &Output, is_silent: bool) -> Option<String> {
    let said = format!("{}{}", crate::common::stdout(output), crate::common::stderr(output));
    let words = ["panicked", "RUST_BACKTRACE", "os error", "unwrap()"].into_iter().find(|word| said.contains(word));
    match (output.status.code(), words) {
        (_, Some(word)) => Some(format!("says '{word}': {said}")),
        (None, _) => Some(format!("ended by signal {:?}, or hung: {said}", output.status.signal())),
        (Some(101), _) => Some(format!("exit code 101: {said}")),
        // A provider gives its reasons, and doctor what it found, on stdout.
        (Some(code), _) if code != 0 && said.is_empty() && !is_silent => Some(format!("exit code {code}, no word")),
        _ => None,
    }
}

/// Runs every line with a fault; fails with all complaints.
fn each(fault: &str, is_silent: bool, prepare: impl Fn(&mut Started)) {
    let mut complaints = Vec::new();
    for (name, words) in lines() {
        let mut started = Started::new(&name, &words);
        prepare(&mut started);
        // `trust --list` and `diff` answer with their exit code.
        let answers = is_silent || (started.name == "sbox-trust" && started.words == ["-l"]);
        if let Some(why) = complaint(&started.run(), answers) {
            complaints.push(format!("{fault}: {name} {}: {why}", words.join(" ")));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn through(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Lines of sh(1) before the program.
fn shell(line: &str) -> Vec<OsString> {
    through(&["sh", "-c", &format!("{line}; exec \"$@\""), "sh"])
}

#[test]
fn few_descriptors() {
    if !need_sandbox() {
        return;
    }
    for count in [8, 20, 64] {
        each(&format!("{count} descriptors"), false, |started| started.through = shell(&format!("ulimit -n {count}")));
    }
}

#[test]
fn one_process() {
    if is_root() {
        skip("root has no limit on processes");
        return;
    }
    if need_program("prlimit") {
        each("one process", false, |started| started.through = through(&["prlimit", "--nproc=1", "--"]));
    }
}

#[test]
fn files_of_no_size() {
    // Stdout and stderr are pipes, which the limit does not concern.
    each("files of no size", false, |started| started.through = shell("ulimit -f 0"));
}

#[test]
fn no_right_to_write() {
    if is_root() {
        skip("root may write everywhere");
        return;
    }
    each("no right to write", false, |started| {
        let state = started.standing.state("");
        let home = started.standing.scratch.home();
        let close = format!("chmod 0500 '{}' '{}' .", state.display(), home.display());
        let open = format!("chmod 0700 '{}' '{}' .", state.display(), home.display());
        started.through = through(&["sh", "-c", &format!("{close}; \"$@\"; code=$?; {open}; exit $code"), "sh"]);
    });
}

#[test]
fn no_space() {
    if !need_program("unshare") || !need_sandbox() {
        return;
    }
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    // Root of a namespace mounts a disk without room, then the user is an ordinary one again.
    let disk = "mount -t tmpfs -o size=64k,mode=777 disk /mnt && cp -a . /mnt/p && mkdir /mnt/home /mnt/tmp \
        && (cat /dev/zero >/mnt/ballast 2>/dev/null; cd /mnt/p && exec \"$@\")";
    let (outer, inner) = match uid {
        0 => (vec!["unshare", "--mount"], Vec::new()),
        _ => (
            vec!["unshare", "--user", "--map-root-user", "--mount"],
            vec!["unshare".to_owned(), "--user".into(), format!("--map-user={uid}"), format!("--map-group={gid}")],
        ),
    };
    let mut line: Vec<OsString> = through(&outer);
    line.extend(through(&["sh", "-c", disk, "sh"]));
    line.extend(inner.iter().map(OsString::from));
    let works = std::process::Command::new(&line[0]).args(&line[1..]).arg("true").current_dir("/var/empty").status();
    let works = works
        .or_else(|_| std::process::Command::new(&line[0]).args(&line[1..]).arg("true").current_dir("/media").status());
    if !works.is_ok_and(|status| status.success()) {
        skip("this host cannot make a small disk");
        return;
    }
    each("no space", false, |started| {
        started.through.clone_from(&line);
        for (name, value) in [("HOME", "/mnt/home"), ("TMPDIR", "/mnt/tmp")] {
            started.environment.push((name.into(), Some(value.into())));
        }
    });
}

#[test]
fn closed_streams() {
    for (streams, is_silent) in [("<&-", false), ("<&- >&- 2>&-", true)] {
        each(&format!("closed: {streams}"), is_silent, |started| started.through = shell(&format!("exec {streams}")));
    }
}

/// What starts others, or is started by them: whichever streams are closed, no descriptor of ours takes the place of one.
#[test]
fn each_stream_closed_with_and_without_the_others() {
    if !need_sandbox() {
        return;
    }
    let lines = [
        ("sbox-spawn", "-- sh -c [\t-e\t/proc/self/exe\t]"),
        ("sbox-spawn", "--network proxy --allow example.com -- true"),
        ("sbox-spawn", "--network none --port 0:80 -- true"),
        ("sbox-supervise", "--project @/p --name scarce -- sbox-spawn -- true"),
        ("sbox-run", "-d -n scarce true"),
        ("sbox-proxy", "--receive 0"),
        ("sbox-proxy", "--receive 9"),
        ("sbox-forward", "--receive 1 80"),
        ("sbox-forward", "--user 0 --network 1 9:80"),
        ("sbox-forward", "--user 7 --network 8 9:80"),
    ];
    let mut complaints = Vec::new();
    for (name, line) in lines {
        let words: Vec<String> = line.split(' ').map(|word| word.replace('\t', " ")).collect();
        for closed in 1..8 {
            let streams: Vec<&str> = ["<&-", ">&-", "2>&-"]
                .into_iter()
                .enumerate()
                .filter_map(|(bit, stream)| (closed >> bit & 1 == 1).then_some(stream))
                .collect();
            let mut started = Started::new(name, &words);
            started.through = shell(&format!("exec {}", streams.join(" ")));
            let output = started.run();
            let is_silent = closed & 4 != 0;
            if let Some(why) = complaint(&output, is_silent) {
                complaints.push(format!("{}: {name} {line}: {why}", streams.join(" ")));
            }
            // A daemon that was started is one, and the only thing that is lost is the word of it.
            let is_daemon = name == "sbox-run" && output.status.success();
            if is_daemon && !["running", "exited"].contains(&&*started.standing.status("scarce")) {
                complaints.push(format!("{}: {name}: {}", streams.join(" "), started.standing.status("scarce")));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn output_that_is_lost_is_an_error() {
    let mut complaints = Vec::new();
    for (name, words) in lines() {
        let peace = Started::new(&name, &words).run();
        // A command's own output is the command's own affair.
        let is_ours = !["sbox-run", "sbox-exec", "sbox-shell", "sbox-spawn"].contains(&&*name) || words == ["--probe"];
        for stream in [">&-", ">/dev/full"] {
            let mut started = Started::new(&name, &words);
            started.through = shell(&format!("exec {stream}"));
            let output = started.run();
            let line = format!("{stream}: {name} {}", words.join(" "));
            complaints.extend(complaint(&output, false).map(|why| format!("{line}: {why}")));
            if is_ours && peace.status.success() && !peace.stdout.is_empty() && output.status.success() {
                complaints.push(format!("{line}: a success, and {} bytes are lost", peace.stdout.len()));
            }
        }
        // A reader that went away is not an error, and nothing is said of it.
        let mut started = Started::new(&name, &words);
        started.through = through(&["sh", "-c", "(sleep 0.2; \"$@\" 2>&3; echo $? >&3) 3>&1 >&2 | :", "sh"]);
        started.through[2] = "{ { sleep 0.05; \"$@\" 2>&3; echo \"code $?\" >&3; } | :; } 3>&1".into();
        let output = started.run();
        let said = crate::common::stdout(&output);
        if is_ours && peace.status.success() && !peace.stdout.is_empty() && said.contains("[ERROR]") {
            complaints.push(format!("a closed pipe: {name} {}: {said}", words.join(" ")));
        }
        if said.contains("code 101") || said.contains("panicked") {
            complaints.push(format!("a closed pipe: {name} {}: {said}", words.join(" ")));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_mask_that_takes_every_right() {
    each("umask 777", false, |started| started.through = shell("umask 777"));
}

#[test]
fn hostile_environments() {
    let odd = || Some(OsStr::from_bytes(b"\xff\xfe/\x01").to_owned());
    let text = |text: &str| Some(OsString::from(text));
    type Variables = Vec<(&'static str, Option<OsString>)>;
    let environments: Vec<(&str, Variables)> = vec![
        ("nothing is set", vec![("HOME", None), ("PATH", None)]),
        (
            "relative",
            vec![("HOME", text("home")), ("PATH", text("bin:.")), ("TMPDIR", text("tmp")), ("SBOX_CACHE", text("c"))],
        ),
        (
            "nowhere",
            vec![
                ("HOME", text("/dev/null/at all")),
                ("PATH", text("/dev/null/nowhere")),
                ("TMPDIR", text("/dev/null/nowhere")),
            ],
        ),
        (
            "empty",
            vec![("HOME", text("")), ("PATH", text("")), ("TMPDIR", text("")), ("LANG", text("")), ("TERM", text(""))],
        ),
        (
            "bytes",
            ["HOME", "PATH", "TMPDIR", "LANG", "TERM", "SBOX_CACHE", "USER", "http_proxy"].map(|n| (n, odd())).into(),
        ),
        (
            "nonsense",
            vec![
                ("LANG", text("xx_XX.nonsense")),
                ("LC_ALL", text("%n%s")),
                ("TERM", text("\\e[")),
                ("COLUMNS", text("-1")),
            ],
        ),
        ("ours", vec![("SBOX_EXEC_PATH", text("/nowhere")), ("SBOX_TRACE", text("1")), ("SBOX_ISOLATION", text("x"))]),
        (
            "ours, too",
            vec![("SBOX_PATIENCE", text("x")), ("SBOX_CACHE_BESIDE", odd()), ("SOURCE_DATE_EPOCH", text("-9e9"))],
        ),
    ];
    for (fault, variables) in environments {
        each(fault, false, |started| {
            started.environment = variables.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        });
    }
}

#[test]
fn every_program_is_started_with_a_line() {
    for (name, _) in LINES {
        assert!(programs().contains(&(*name).to_owned()), "{name}");
    }
}
