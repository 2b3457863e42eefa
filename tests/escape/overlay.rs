//! Copy-on-write mounts: the agent changes what it likes, and the host's tree stays as it is.

use super::{asked, confined, open_scratch, refused, started, text};
use crate::common::{Ends, Scratch, becomes, bin, is_root, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A tree with a state directory in it, and a layer in that.
fn tree(scratch: &Scratch) -> (PathBuf, PathBuf) {
    scratch.write("p/file", "host\n");
    scratch.write("p/dir/deep/file", "deep\n");
    scratch.write("p/.git/hooks/pre-commit", "#!/bin/sh\n");
    scratch.write("p/.sbox/config.yaml", "runtime: python:3.12\n");
    scratch.write("p/.sbox/home/token", "canary\n");
    std::os::unix::fs::symlink("file", scratch.path("p/link")).unwrap();
    (scratch.path("p"), layer(scratch, "p/.sbox/cow/work"))
}

fn layer(scratch: &Scratch, below: &str) -> PathBuf {
    for name in ["upper", "work"] {
        std::fs::create_dir_all(scratch.path(below).join(name)).unwrap();
    }
    scratch.path(below)
}

/// The options for the tree of [`tree`] at `/work`.
fn options<'a>(src: &'a Path, layer: &'a Path, state: &'a Path) -> Vec<&'a str> {
    vec!["--hide", text(state), "--cow", text(src), "/work", text(layer), "--chdir", "/work"]
}

/// Every path below `top` with its kind, mode, times and content; not the layer's.
fn picture(top: &Path) -> Vec<String> {
    let line = "find . -path ./.sbox/cow -prune -o -printf '%p %y %m %U %G %s %T@ %C@ %l\\n' | sort;
        find . -path ./.sbox/cow -prune -o -type f -exec cat {} +";
    let output = Command::new("sh").args(["-c", line]).current_dir(top).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output).lines().map(String::from).collect()
}

const WORST: &str = "echo agent > file; rm -r dir; mkdir -p new/d; echo x > new/d/f; rm link; ln -s /etc/passwd link;
    echo evil > .git/hooks/pre-commit; chmod 777 .git/hooks; touch -d 1990-01-01 .git; mv new newer; mkdir .vscode;
    ln file hard; mkfifo pipe; chmod 000 file; echo evil >> .sbox/config.yaml; rm -rf .sbox; mkdir dir; echo y > dir/z;
    rm -rf .git; : > \"$(printf 'a\\nb')\"; chmod 700 .";

#[test]
fn an_agent_that_does_its_worst_in_a_copy_on_write_mount_leaves_the_hosts_tree_as_it_is() {
    let Some(scratch) = Scratch::sandbox("escape-overlay") else { return };
    let (src, layer) = tree(&scratch);
    let state = src.join(".sbox");
    let before = picture(&src);
    let line = "cp -a p copy && echo agent > copy/file";
    assert!(Command::new("sh").args(["-c", line]).current_dir(&scratch.root).status().unwrap().success());
    assert_ne!(picture(&src), picture(&scratch.path("copy")), "a picture that shows no change proves nothing");

    confined(&scratch, &options(&src, &layer, &state), WORST);
    assert_eq!(picture(&src), before);
    // All of it is there the next time.
    let again = confined(&scratch, &options(&src, &layer, &state), "cat newer/d/f dir/z; readlink link; ls -A");
    assert!(stdout(&again).starts_with("x\ny\n/etc/passwd\n"), "{}", stderr(&again));
    assert!(!stdout(&again).contains(".git") && stdout(&again).contains(".vscode"));
    assert_eq!(picture(&src), before);
    // The layer's files are the user's own, also where root started it.
    let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&layer).unwrap());
    let theirs = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(layer.join("upper/newer/d/f")).unwrap());
    assert_eq!(own, theirs);
}

#[test]
fn of_a_state_directory_only_the_configuration_shows_and_it_cannot_be_changed() {
    let Some(scratch) = Scratch::sandbox("escape-overlay-state") else { return };
    let (src, layer) = tree(&scratch);
    let state = src.join(".sbox");
    let bound = ["--hide", text(&state), "--bind", text(&src), "/work", "--chdir", "/work"];
    for options in [options(&src, &layer, &state), bound.to_vec()] {
        let shown = confined(&scratch, &options, "ls -A .sbox; cat .sbox/config.yaml");
        assert_eq!(stdout(&shown), "config.yaml\nruntime: python:3.12\n");
        for attempt in [
            "echo evil >> .sbox/config.yaml",
            "rm .sbox/config.yaml",
            "echo evil > x; mv x .sbox/config.yaml",
            "mv .sbox other",
            "chmod 777 .sbox/config.yaml",
            "cat .sbox/home/token",
            "ls .sbox/cow",
        ] {
            refused(&scratch, &options, attempt);
        }
        // A sandbox in the sandbox mounts on something there.
        assert!(confined(&scratch, &options, "mkdir .sbox/place && touch .sbox/other").status.success());
        assert!(!state.join("place").exists() && !state.join("other").exists());
        assert!(!layer.join("upper/.sbox").exists());
    }
    assert_eq!(scratch.read("p/.sbox/config.yaml"), "runtime: python:3.12\n");
}

#[test]
fn a_link_in_place_of_the_configuration_leads_nowhere() {
    let Some(scratch) = Scratch::sandbox("escape-overlay-link") else { return };
    let (src, layer) = tree(&scratch);
    scratch.write("secret", "canary");
    std::fs::remove_file(src.join(".sbox/config.yaml")).unwrap();
    std::os::unix::fs::symlink(scratch.path("secret"), src.join(".sbox/config.yaml")).unwrap();
    let shown = confined(&scratch, &options(&src, &layer, &src.join(".sbox")), "ls -A .sbox; cat .sbox/config.yaml");
    assert!(!stdout(&shown).contains("canary"), "{}", stdout(&shown));
}

#[test]
fn no_mount_shows_a_layer() {
    let Some(scratch) = Scratch::sandbox("escape-overlay-layer") else { return };
    let (src, layer) = tree(&scratch);
    let cow = ["--cow", text(&src), "/work", text(&layer)];
    // Nobody said that the state is to be hidden: the layer is hidden by itself, in every mount that has it.
    let (above, all) = (scratch.root.clone(), ["--bind", text(&scratch.root), "/all", "--ro-bind", text(&src), "/ro"]);
    let script = "cd /work && echo new > made; for top in /work /ro /all/p; do ls -A $top/.sbox/cow/work; done";
    let shown = confined(&scratch, &[&cow[..], &all].concat(), script);
    assert_eq!(stdout(&shown), "", "{}", stderr(&shown));
    assert!(layer.join("upper/made").exists() && above.exists());
    for part in ["", "upper", "work"] {
        let part = layer.join(part);
        let output = asked(&scratch, &[&cow[..], &["--bind", text(&part), "/x"]].concat(), "ls /x");
        assert_eq!(output.status.code(), Some(125), "{}", stdout(&output));
        assert!(stderr(&output).contains("it is hidden"), "{}", stderr(&output));
    }
}

#[test]
fn several_copy_on_write_mounts_have_read_only_and_other_mounts_below_them() {
    let Some(scratch) = Scratch::sandbox("escape-overlay-several") else { return };
    let (src, first) = tree(&scratch);
    scratch.write("q/file", "other\n");
    scratch.write("data/file", "data\n");
    let (other, second, data) = (scratch.path("q"), layer(&scratch, "second"), scratch.path("data"));
    let mut all = options(&src, &first, &first);
    all.extend(["--cow", text(&other), "/work/dir", text(&second)]);
    all.extend(["--ro-bind", text(&data), "/work/dir/data", "--tmpfs", "/work/dir/memory"]);
    let script = "cat file dir/file dir/data/file; echo a > file; echo b > dir/file; touch dir/memory/x";
    let output = confined(&scratch, &all, script);
    assert_eq!(
        (stdout(&output).as_str(), output.status.code()),
        ("host\nother\ndata\n", Some(0)),
        "{}",
        stderr(&output)
    );
    refused(&scratch, &all, "touch dir/data/x");
    assert_eq!((scratch.read("p/file"), scratch.read("q/file")), ("host\n".into(), "other\n".into()));
    assert_eq!(std::fs::read_to_string(first.join("upper/file")).unwrap(), "a\n");
    assert_eq!(std::fs::read_to_string(second.join("upper/file")).unwrap(), "b\n");
}

#[test]
fn a_sandbox_in_the_sandbox_uncovers_nothing_of_a_copy_on_write_mount() {
    if is_root() {
        return;
    }
    let Some(scratch) = open_scratch("escape-overlay-nested") else { return };
    let (src, layer) = tree(&scratch);
    let state = src.join(".sbox");
    let all = [&["--nested"], &options(&src, &layer, &state)[..]].concat();
    assert!(confined(&scratch, &all, "unshare -rm sh -c 'mount -t tmpfs none dir'").status.success());
    for attempt in [
        "unshare -rm umount .sbox",
        "unshare -rm sh -c 'cd /; umount /work && ls /work'",
        "unshare -rm sh -c 'mount --rbind /work /tmp && cat /tmp/.sbox/home/token'",
        "unshare -rm mount -o remount,lowerdir=/,upperdir=/tmp,workdir=/tmp /work",
    ] {
        refused(&scratch, &all, attempt);
    }
}

#[test]
fn without_an_overlay_nothing_runs_and_nothing_is_written_through() {
    let Some(scratch) = open_scratch("escape-overlay-none") else { return };
    let (src, layer) = tree(&scratch);
    for level in ["landlock", "env"] {
        let all = [&["--isolation", level][..], &["--cow", text(&src), "/work", text(&layer)]].concat();
        let output = asked(&scratch, &all, &format!("echo evil > {}/file", src.display()));
        assert_eq!(output.status.code(), Some(125), "{level}");
        assert!(stderr(&output).contains("copy-on-write"), "{}", stderr(&output));
    }
    // A file system that cannot be an upper layer: the kernel's own.
    for (src, why) in [(Path::new("/"), "is a mount point below it"), (&src, "layer")] {
        let output = asked(&scratch, &["--cow", text(src), "/work", text(&scratch.home())], "echo evil > /work/file");
        assert_eq!(output.status.code(), Some(125));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
    assert_eq!(scratch.read("p/file"), "host\n");
}

#[test]
fn sandboxes_that_run_at_once_share_one_mount_of_a_layer_and_it_outlives_the_first() {
    let Some(scratch) = Scratch::sandbox("escape-overlay-two") else { return };
    let (src, layer) = tree(&scratch);
    let state = src.join(".sbox");
    let all = options(&src, &layer, &state);
    let start = |script: &str| {
        let mut command = spawn(&scratch);
        command.args(&all).args(["--", "sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut command = Ends(command.spawn().unwrap());
        let mut line = [0u8; 6];
        std::io::Read::read_exact(command.0.stdout.as_mut().unwrap(), &mut line).unwrap();
        command
    };
    let end = |mut command: Ends| {
        drop(command.0.stdin.take());
        let mut rest = String::new();
        std::io::Read::read_to_string(command.0.stdout.as_mut().unwrap(), &mut rest).unwrap();
        (command.0.wait().unwrap().code(), rest)
    };
    let first = start("echo one > one; echo ready; read end; cat two");
    // At once, and with a view of its own on the state.
    let shown = confined(&scratch, &all, "cat one; ls -A .sbox; echo two > two");
    assert_eq!(stdout(&shown), "one\nconfig.yaml\n", "{}", stderr(&shown));
    let second = start("echo ready; read end; cat two; echo three > three");
    assert_eq!(end(first), (Some(0), "two\n".into()));
    // A third takes it from the second, which has it from the first.
    assert_eq!(stdout(&confined(&scratch, &all, "cat one; echo four > four")), "one\n");
    assert_eq!(end(second), (Some(0), "two\n".into()));
    let mut left: Vec<_> = std::fs::read_dir(layer.join("upper")).unwrap().flatten().map(|e| e.file_name()).collect();
    left.sort();
    assert_eq!(left, ["four", "one", "three", "two"]);
    assert_eq!(stdout(&confined(&scratch, &all, "cat four three")), "four\nthree\n");
}

#[test]
fn a_layer_whose_sandbox_cannot_be_found_is_left_to_it() {
    let Some(scratch) = Scratch::sandbox("escape-overlay-in-use") else { return };
    let (src, layer) = tree(&scratch);
    scratch.write("p/.sbox/cow/work/mount.json", "{\"pid\":1,\"start\":1,\"boot\":\"x\"}\n");
    let ready = "flock -s 9; echo ready; read end";
    let mut other = Command::new("sh");
    other.args(["-c", &format!("exec 9< '{}/mount.json'; {ready}", layer.display())]);
    let mut other = Ends(other.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = [0u8; 6];
    std::io::Read::read_exact(other.0.stdout.as_mut().unwrap(), &mut line).unwrap();
    let cow = ["--cow", text(&src), "/work", text(&layer)];
    let refused = asked(&scratch, &cow, "true");
    assert_eq!(refused.status.code(), Some(125));
    assert!(stderr(&refused).contains("the layer of '/work' is in use by another sandbox"), "{}", stderr(&refused));
    drop(other.0.stdin.take());
    assert!(other.0.wait().is_ok());
    started(&asked(&scratch, &cow, "true"), "a layer that is free again");
}

/// To be started and left to run.
fn spawn(scratch: &Scratch) -> Command {
    let mut command = Command::new(bin().join("sbox-spawn"));
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(&scratch.root);
    command
}

/// A command in a sandbox that reads the tree until it is told to end, and what it saw last.
fn reader(scratch: &Scratch, options: &[&str]) -> Ends {
    // Into a place that it shares with this test; names are looked up before they exist, and files before they change.
    let script = "while [ ! -e /out/end ]; do
        echo \"$(cat file 2>&1) $(cat later 2>&1) $(cat dir/deep/file 2>&1)\" > /out/.seen; mv /out/.seen /out/seen; sleep 0.02; done";
    std::fs::create_dir_all(scratch.path("out")).unwrap();
    let mut command = spawn(scratch);
    command.args(options).args(["--bind", text(&scratch.path("out")), "/out", "--", "sh", "-c", script]);
    Ends(command.stdin(Stdio::null()).spawn().unwrap())
}

fn sees(scratch: &Scratch, what: &str) -> bool {
    becomes(|| std::fs::read_to_string(scratch.path("out/seen")).is_ok_and(|seen| seen.contains(what)))
}

/// As an editor does.
fn replace(scratch: &Scratch, below: &str, content: &str) {
    scratch.write(&format!("{below}.new"), content);
    std::fs::rename(scratch.path(&format!("{below}.new")), scratch.path(below)).unwrap();
}

#[test]
fn what_the_user_changes_on_the_host_shows_inside_and_the_agents_changes_stay() {
    let Some(scratch) = Scratch::sandbox("escape-overlay-refresh") else { return };
    let (src, layer) = tree(&scratch);
    let state = src.join(".sbox");
    let mut reader = reader(&scratch, &options(&src, &layer, &state));
    assert!(sees(&scratch, "host cat: later: No such file or directory deep"));
    replace(&scratch, "p/file", "edited");
    assert!(sees(&scratch, "edited"), "{}", scratch.read("out/seen"));
    replace(&scratch, "p/later", "now");
    assert!(sees(&scratch, "edited now deep"), "{}", scratch.read("out/seen"));
    // In a directory that came later, too.
    std::fs::rename(scratch.path("p/dir"), scratch.path("p/old")).unwrap();
    scratch.write("p/dir/deep/file", "first");
    assert!(sees(&scratch, "edited now first"), "{}", scratch.read("out/seen"));
    replace(&scratch, "p/dir/deep/file", "second");
    assert!(sees(&scratch, "edited now second"), "{}", scratch.read("out/seen"));
    scratch.write("out/end", "");
    assert!(reader.0.wait().unwrap().success());
    assert!(std::fs::read_dir(layer.join("upper")).unwrap().next().is_none(), "nobody wrote inside");
}

#[test]
fn a_command_that_joins_a_sandbox_sees_the_host_as_it_is_now() {
    let Some(scratch) = Scratch::sandbox("escape-overlay-join") else { return };
    let (src, layer) = tree(&scratch);
    let state = src.join(".sbox");
    let mut reader = reader(&scratch, &options(&src, &layer, &state));
    assert!(sees(&scratch, "host"));
    // The layer names the command, for whoever wants to join it.
    let mounted: serde_json::Value = serde_json::from_str(&scratch.read("p/.sbox/cow/work/mount.json")).unwrap();
    let pid = mounted["pid"].to_string();
    replace(&scratch, "p/file", "edited");
    let joined = scratch.program("sbox-spawn").args(["--join", &pid, "--", "cat", "/work/file"]).output().unwrap();
    assert_eq!(stdout(&joined), "edited", "{}", stderr(&joined));
    let refresh = scratch.program("sbox-spawn").args(["--join", &pid, "--refresh"]).output().unwrap();
    assert_eq!((refresh.status.code(), stdout(&refresh)), (Some(0), String::new()), "{}", stderr(&refresh));
    scratch.write("out/end", "");
    assert!(reader.0.wait().unwrap().success());
}
