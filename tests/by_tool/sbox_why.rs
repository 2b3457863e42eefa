//! What `sbox why` says, and whether that is what is inside.

use crate::common::cow::need_overlay;
use crate::common::daemons::Standing;
use crate::common::{Scratch, becomes, bin, need_sandbox, stderr, stdout};
use serde_json::Value;
use std::path::Path;

fn why(scratch: &Scratch, words: &[&str]) -> Value {
    let output = scratch.sbox("p").args(["why", "--json"]).args(words).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words:?}: {output:?}"));
    assert_eq!(output.status.code(), Some(i32::from(answer["yes"] != true)), "{answer}");
    answer
}

fn inside(scratch: &Scratch, script: &str, path: &str) -> bool {
    let output = scratch.sbox("p").args(["exec", "/bin/sh", "-c", script, "sh", path]).output().unwrap();
    assert_ne!(output.status.code(), Some(125), "{}", stderr(&output));
    output.status.success()
}

#[test]
fn a_path_is_explained_by_its_line_and_by_what_would_change_it() {
    if !need_overlay() {
        return;
    }
    let standing = Standing::new("why-path", "");
    let scratch = &standing.scratch;
    scratch.write("data/f", "x");
    scratch.write("p/src/a", "x");
    let data = scratch.path("data").display().to_string();
    let mounts = format!("mount:\n  - .:/cow-tree:cow\n  - {{src: {data}, dst: /data, mode: ro}}\n");
    scratch.project("p", &format!("runtime: node:22\nworkdir: /cow-tree\n\n# two\n{mounts}"));
    let answer = why(scratch, &["/data/f"]);
    assert_eq!((&answer["access"], &answer["by"]["line"]), (&"read-only".into(), &7.into()), "{answer}");
    assert_eq!(answer["changes"][0]["line"], format!("- {data}:/data:cow"));
    assert_eq!(answer["host_path"], format!("{data}/f"));
    let answer = why(scratch, &["src/a"]);
    assert_eq!((&answer["access"], &answer["by"]["line"]), (&"copy-on-write".into(), &6.into()), "{answer}");
    assert_eq!(answer["path"], "/cow-tree/src/a");
    // The same once a layer is there, and the agent has changed something in it.
    assert!(inside(scratch, "echo y > /cow-tree/src/a && rm -r /cow-tree/.git 2>/dev/null; mkdir /cow-tree/new", ""));
    let answer = why(scratch, &["/cow-tree/src/a"]);
    assert!(
        answer["access"] == "copy-on-write" && answer["notes"].to_string().contains("version of its own"),
        "{answer}"
    );
    assert!(inside(scratch, "rm /cow-tree/src/a", ""));
    let answer = why(scratch, &["/cow-tree/src/a"]);
    assert!(answer["yes"] == false && answer["verdict"].as_str().unwrap().contains("deleted"), "{answer}");

    let secret = scratch.write("home/.ssh/id", "key").display().to_string();
    for asked in [&*secret, "~/.ssh/id"] {
        let answer = why(scratch, &[asked]);
        assert!(answer["yes"] == false && answer["by"]["rule"] == "nothing", "{answer}");
        assert_eq!(answer["changes"][0]["line"], format!("- {secret}:{secret}:ro"), "{answer}");
        assert!(answer["notes"].to_string().contains("SSH keys"), "{answer}");
    }
    // The line that it gives is one that does it.
    let config = scratch.read("p/.sbox/config.yaml");
    scratch.project("p", &format!("{config}  - {secret}:{secret}:ro\n"));
    assert!(inside(scratch, "test -f \"$1\"", &secret));
    assert_eq!(why(scratch, &[&secret])["by"]["line"], 8);
    let text = scratch.sbox("p").args(["why", "/data"]).output().unwrap();
    assert!(stdout(&text).contains("by .sbox/config.yaml:7: - {src: "), "{}", stdout(&text));
}

#[test]
fn what_it_says_of_every_kind_of_path_is_what_is_inside() {
    if !need_sandbox() {
        return;
    }
    let standing = Standing::new("why-true", "");
    let scratch = &standing.scratch;
    scratch.write("data/f", "x");
    scratch.write("work/sub/.vscode/tasks.json", "{}");
    scratch.write("work/plain", "x");
    let (data, work) = (scratch.path("data"), scratch.path("work"));
    let mounts = format!("mount:\n  - {}:/data:ro\n  - {}:/w\n", data.display(), work.display());
    let root = scratch.project("p", &format!("runtime: node:22\nworkdir: /\n{mounts}limits: {{tmp: 10M}}\n"));
    let own = root.display().to_string();
    std::os::unix::fs::symlink("/data/f", work.join("link")).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", work.join("bad")).unwrap();
    let secret = scratch.write("home/secret", "x").display().to_string();
    let own_paths = [".sbox/config.yaml", ".sbox/rootfs", ".sbox/env", ".sbox/logs", ".sbox/env/bin", "src"]
        .map(|below| format!("{own}/{below}"));
    let fixed = [
        "/",
        "/data",
        "/data/f",
        "/data/none",
        "/w",
        "/w/sub",
        "/w/sub/.vscode",
        "/w/sub/.vscode/tasks.json",
        "/w/link",
        "/w/bad",
        "/w/plain",
        "/w/../data/f",
        "/usr",
        "/bin",
        "/bin/sh",
        "/lib",
        "/sbin",
        "/usr/bin/env",
        "/etc",
        "/etc/passwd",
        "/etc/shadow",
        "/etc/hosts",
        "/etc/ssl",
        "/etc/ssh",
        "/etc/sudoers",
        "/etc/machine-id",
        "/etc/resolv.conf",
        "/etc/cron.d",
        "/root",
        "/var",
        "/var/lib",
        "/opt",
        "/mnt",
        "/srv",
        "/sys",
        "/sys/class",
        "/run",
        "/boot",
        "/dev",
        "/dev/null",
        "/dev/sda",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/pts",
        "/dev/shm",
        "/dev/tty",
        "/dev/fd",
        "/proc",
        "/proc/kcore",
        "/proc/sys",
        "/proc/sys/kernel/core_pattern",
        "/home",
        "/tmp",
        "/app",
        "/.dockerenv",
        "/.sbox",
        "/nowhere",
    ];
    let mut wrong = Vec::new();
    for path in fixed.into_iter().map(str::to_owned).chain(own_paths).chain([secret]) {
        let answer = why(scratch, &["--as", "path", &path]);
        let exists = inside(scratch, "test -e \"$1\"", &path);
        if answer["access"] == "answered by the kernel" || answer["access"] == "covered" {
            continue;
        }
        if (answer["yes"] == true) != exists {
            wrong.push(format!("{path}: inside {exists}, {answer}"));
            continue;
        }
        // What is there read-write can be written by whoever owns it, what is read-only by nobody.
        let writes = exists
            && inside(
                scratch,
                "if test -d \"$1\"; then touch \"$1/.x\" && rm \"$1/.x\"; else : >> \"$1\"; fi 2>/dev/null",
                &path,
            );
        let may = matches!(answer["access"].as_str(), Some("read-write" | "in memory" | "copy-on-write"));
        let is_device = path.starts_with("/dev/");
        if writes != may && exists && !is_device {
            wrong.push(format!("{path}: writing {writes}, {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_program_is_the_file_that_would_be_executed() {
    if !need_sandbox() {
        return;
    }
    let standing = Standing::new("why-program", "");
    let scratch = &standing.scratch;
    let elsewhere = scratch.path("tools");
    let python = scratch.write("p/.sbox/env/bin/python", "#!/bin/sh\n");
    std::fs::set_permissions(&python, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["python", "sh", "env"] {
        let answer = why(scratch, &[name]);
        let output =
            scratch.sbox("p").args(["exec", "/bin/sh", "-c", "command -v \"$1\"", "sh", name]).output().unwrap();
        assert_eq!(answer["verdict"], format!("there: {}", stdout(&output).trim()), "{answer}");
    }
    assert_eq!(why(scratch, &["python"])["by"]["line"], 1);
    std::fs::create_dir(&elsewhere).unwrap();
    let tool = elsewhere.join("own-tool");
    std::fs::write(&tool, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = scratch.sbox("p");
    let output = command
        .args(["why", "--json", "own-tool"])
        .env("PATH", format!("{}:/usr/bin:/bin", elsewhere.display()))
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["yes"] == false && answer["notes"].to_string().contains(tool.to_str().unwrap()), "{answer}");
}

#[test]
fn a_host_is_measured_as_the_proxy_does() {
    if !need_sandbox() {
        return;
    }
    let standing = Standing::new("why-host", "");
    let scratch = &standing.scratch;
    scratch.project("p", "runtime: python:3.12\nnetwork:\n  allow:\n    - web.invalid=127.0.0.1\n    - \"*.some.invalid\"\n    - ssh.invalid:22=127.0.0.1\n    - local.invalid=private\n    - \"@github\"\n  deny: [bad.some.invalid]\nreach: [5432]\n");
    for (asked, yes, line) in [
        ("web.invalid", true, Some(4)),
        ("https://WEB.invalid./x", true, Some(4)),
        ("web.invalid:22", false, Some(3)),
        ("a.some.invalid:80", true, Some(5)),
        ("some.invalid", false, Some(3)),
        ("bad.some.invalid", false, Some(9)),
        ("bad.some.invalid:8080", false, Some(9)),
        ("ssh.invalid:22", true, Some(6)),
        ("api.github.com", true, Some(8)),
        ("localhost:5432", true, Some(10)),
        ("localhost:80", false, None),
        ("127.0.0.1:80", false, None),
        ("[::ffff:127.0.0.1]:80", false, None),
        ("169.254.169.254", false, None),
        ("2130706433", false, None),
    ] {
        let answer = why(scratch, &["--as", "host", asked]);
        assert_eq!((&answer["yes"], answer["by"]["line"].as_u64()), (&yes.into(), line), "{answer}");
    }
    let answer = why(scratch, &["other.invalid:8443"]);
    assert_eq!(answer["changes"][0]["line"], "- \"other.invalid:8443\"");
    for (network, asked, yes, rule) in [
        ("", "example.org", true, "default"),
        ("network: host\n", "localhost:80", true, "configuration"),
        ("network: none\n", "example.org", false, "configuration"),
        ("network: none\n", "localhost:80", false, "built_in"),
    ] {
        scratch.project("p", &format!("runtime: python:3.12\n{network}"));
        let answer = why(scratch, &["--as", "host", asked]);
        assert_eq!((&answer["yes"], &answer["by"]["rule"]), (&yes.into(), &rule.into()), "{answer}");
    }
    let wrong = scratch.sbox("p").args(["why", "--as", "host", "a b"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_daemon_is_asked_itself_and_an_old_configuration_is_named() {
    if !need_sandbox() {
        return;
    }
    let standing = Standing::new("why-daemon", "mount: [\"/usr/include:/inc:ro\"]\n");
    standing.start("d", "sleep 1000");
    let answer = standing.stdout(&["why", "--in", "d", "/inc"]);
    assert!(answer.contains("in 'd' it is there now") && !answer.contains("was changed"), "{answer}");
    // The clock of files and that of the record have seconds.
    let config = standing.state("config.yaml");
    let text = std::fs::read_to_string(&config).unwrap().replace("/inc:ro", "/inc2:ro");
    assert!(becomes(|| {
        std::fs::write(&config, &text).unwrap();
        let output = standing.sbox(&["trust"]).output().unwrap();
        assert!(output.status.success());
        let output = standing.sbox(&["why", "--in", "d", "/inc2"]).output().unwrap();
        let said = stdout(&output);
        said.contains("in 'd' it is not there now") && said.contains("sbox restart d")
    }));
    assert!(Path::new(&config).exists());
}

/// What each attempt of `sbox-attempt` is about: a path, with whether it writes there, or a host; nothing for what is
/// neither. A new attempt in these classes is to be put here.
fn subject(name: &str, secret: &str, port: u16) -> Option<(String, bool)> {
    let path = |path: &str, writes| Some((path.to_owned(), writes));
    match name {
        "read-secret" | "stat-secret" | "link-to-secret" | "hard-link-secret" | "dots-to-secret" => path(secret, false),
        "list-secret" => path(secret.rsplit_once('/').unwrap().0, false),
        "host-homes" => path("/root", false),
        "host-devices" => path("/sys/class", false),
        "truncate-unmounted" => path(secret, true),
        "write-read-only"
        | "truncate-read-only"
        | "truncate-by-reading"
        | "chmod-read-only"
        | "touch-read-only"
        | "xattr-read-only" => path("/data/file", true),
        "mkdir-read-only" | "link-read-only" | "rename-read-only" => path("/data", true),
        "change-program" => path("/usr/bin/env", true),
        "core-pattern" => path("/proc/sys/kernel/core_pattern", true),
        "sysrq" => path("/proc/sysrq-trigger", true),
        "host-loopback" | "proxy-loopback" => path(&format!("127.0.0.1:{port}"), false),
        "host-loopback-6" => path(&format!("[::ffff:127.0.0.1]:{port}"), false),
        "any-address" => path(&format!("0.0.0.0:{port}"), false),
        "udp-route" => path("192.0.2.1:53", false),
        "proxy-notation" => path(&format!("2130706433:{port}"), false),
        "proxy-localhost" | "proxy-host-header" => path(&format!("localhost:{port}"), false),
        "proxy-metadata" => path("169.254.169.254:80", false),
        "proxy-other-name" => path("not-allowed.invalid:443", false),
        "proxy-other-port" => path("allowed.invalid:22", false),
        "secret-in-proc-root"
        | "secret-in-other-root"
        | "inherited-descriptors"
        | "host-accounts"
        | "host-mounts"
        | "disk-device"
        | "open-by-handle"
        | "set-uid"
        | "set-uid-at-birth"
        | "set-uid-unseen"
        | "interfaces"
        | "vsock" => None,
        other => panic!("'{other}' is not in the list"),
    }
}

#[test]
fn what_the_escape_suite_tries_is_explained_as_it_comes_out() {
    if !need_sandbox() {
        return;
    }
    let standing = Standing::new("why-escape", "");
    let scratch = &standing.scratch;
    let secret = scratch.write("secret/file", "x").display().to_string();
    scratch.write("data/file", "x");
    scratch.write("work/.keep", "");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let own = |below: &str| scratch.path(below).display().to_string();
    let mounts =
        format!("mount:\n  - {}:/data:ro\n  - {}:/w\n  - {}:/tools:ro\n", own("data"), own("work"), bin().display());
    let network = format!("network: {{allow: [allowed.invalid, \"localhost:{port}\"]}}\n");
    let compare = |mounts: &str, network: &str, secret_is_there: bool| {
        scratch.project("p", &format!("runtime: node:22\nworkdir: /\n{mounts}{network}"));
        let mut command = scratch.sbox("p");
        command.args(["exec", "/tools/sbox-attempt"]);
        for (name, value) in [("secret", &*secret), ("data", "/data"), ("work", "/w"), ("port", &port.to_string())] {
            command.arg("--fixture").arg(format!("{name}={value}"));
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let mut compared = 0;
        for line in stdout(&output).lines() {
            let said: Value = serde_json::from_str(line).unwrap();
            if !matches!(said["class"].as_str().unwrap(), "files" | "writes" | "network")
                || said["outcome"] == "impossible"
            {
                continue;
            }
            let Some((asked, writes)) = subject(said["name"].as_str().unwrap(), &secret, port) else { continue };
            let kind = if said["class"] == "network" { "host" } else { "path" };
            let answer = why(scratch, &["--as", kind, &asked]);
            let way = answer["access"].as_str().unwrap_or_default();
            let may = answer["yes"] == true && (!writes || matches!(way, "read-write" | "copy-on-write" | "in memory"));
            // A kernel's file is one that only the kernel lets one write.
            let may = may || writes && way == "answered by the kernel" && said["outcome"] == "reached";
            // A link to what is on another file system cannot be made, wherever that is mounted.
            let other = said["name"] == "hard-link-secret" && secret_is_there;
            assert!(other || (said["outcome"] == "reached") == may, "{said}\n{answer}");
            compared += 1;
        }
        assert!(compared >= 15, "{compared}");
    };
    compare(&mounts, &network, false);
    // The controls: each of them the other way round.
    let open = mounts.replace(":/data:ro", ":/data") + &format!("  - {secret}:{secret}:ro\n  - /sys/class:/root:ro\n");
    compare(&open, "network: host\n", true);
    drop(listener);
}
