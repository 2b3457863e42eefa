//! Directories of the host that are mounted read-write, and what the user's own programs act on in them.

use super::{confined, text};
use crate::common::{Scratch, becomes, need_program, need_sandbox, stderr};
use std::path::Path;
use std::process::Command;

pub(super) fn repository(at: &Path) {
    std::fs::create_dir_all(at).unwrap();
    let git = |words: &[&str]| {
        let output =
            Command::new("git").args(words).current_dir(at).env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    };
    std::fs::write(at.join("file"), "one\n").unwrap();
    git(&["init", "-q", "-b", "main"]);
    git(&["config", "user.email", "a@example.org"]);
    git(&["config", "user.name", "a"]);
    git(&["add", "file"]);
    git(&["commit", "-q", "-m", "one"]);
}

/// git(1) asks whose a repository is; in a sandbox of root's it is nobody's.
pub(super) const TRUST: &str =
    "export HOME=/tmp GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'; ";

#[test]
fn git_works_in_a_mounted_repository() {
    if !need_sandbox() || !need_program("git") {
        return;
    }
    let scratch = Scratch::new("mounts-git");
    let at = scratch.path("repo");
    repository(&at);
    let script = "set -e; cd /w; echo two >> file; git commit -q -a -m two; git branch topic; git checkout -q -b other; \
        echo three >> file; git stash -q; git stash pop -q; git commit -q -a -m three; git checkout -q main; \
        git merge -q other; git worktree add -q tree topic; git tag v1; git gc -q; git reset -q --hard HEAD~1; git status --short";
    let output = confined(&scratch, &["--bind", text(&at), "/w"], &format!("{TRUST}{script}"));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!at.join(".git/index.lock").exists() && !at.join(".git/config.lock").exists());
    // The worktree is reported, and nothing is moved or left behind.
    assert!(
        stderr(&output).contains("created a Git repository") && !stderr(&output).contains("from-sandbox"),
        "{}",
        stderr(&output)
    );
}

/// Whether something of this name has another one now, which nobody could guess.
pub(super) fn moved_away(path: &Path) -> bool {
    let start = format!("{}.from-sandbox-", path.file_name().unwrap().to_str().unwrap());
    let named = |entry: std::fs::DirEntry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&start));
    std::fs::read_dir(path.parent().unwrap()).unwrap().flatten().any(named)
}

#[test]
fn what_programs_of_the_user_obey_is_read_only_at_any_depth() {
    if !need_sandbox() || !need_program("git") {
        return;
    }
    let scratch = Scratch::new("mounts-obeyed");
    let at = scratch.path("repo");
    repository(&at);
    repository(&at.join("deep/below"));
    scratch.write("repo/.envrc", "x");
    scratch.write("repo/deep/.vscode/tasks.json", "x");
    scratch.write("repo/deep/.mcp.json", "x");
    scratch.write("repo/.bashrc", "x");
    scratch.write("repo/other/.sbox/config.yaml", "secret");
    std::fs::write(at.join("deep/linked"), "gitdir: ../.git\n").unwrap();
    for attempt in [
        "echo x > .git/hooks/pre-commit",
        "echo x >> .git/config",
        "mv .git old",
        "rm -rf .git/hooks",
        "mv .git/hooks .git/old",
        "echo x > deep/below/.git/hooks/post-checkout",
        "mv deep/below/.git deep/below/old",
        "echo x >> .envrc",
        "rm -f .envrc",
        "mv .envrc other",
        "echo x > deep/.vscode/new.json",
        "mv deep/.vscode deep/old",
        "echo x > deep/.mcp.json",
        "ln -f file .bashrc",
        "cat other/.sbox/config.yaml",
        "echo x > other/.sbox/config.yaml",
        "ls other/.sbox | grep config",
    ] {
        let output = confined(&scratch, &["--bind", text(&at), "/w", "--chdir", "/w"], &format!("{TRUST}{attempt}"));
        assert!(!output.status.success(), "{attempt}");
        assert_eq!(
            output.stderr.windows(6).filter(|text| text == b"[WARN]").count(),
            0,
            "{attempt}: {}",
            stderr(&output)
        );
    }
    assert_eq!(scratch.read("repo/.envrc"), "x");
    // Read-only as a whole, nothing of this is needed, and nothing is said.
    let output = confined(&scratch, &["--ro-bind", text(&at), "/w"], "cat /w/.envrc");
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn what_was_planted_is_moved_away_and_told() {
    if !need_sandbox() || !need_program("git") {
        return;
    }
    let scratch = Scratch::new("mounts-planted");
    let at = scratch.path("repo");
    repository(&at);
    scratch.write("repo/node_modules/.bin/old", "x");
    let script = "cd /w; mkdir -p a/b/.vscode .claude; echo x > a/b/.vscode/tasks.json; echo x > .claude/x; echo x > .envrc; ln -s /etc a/.idea; \
        echo /w/evil > .git/commondir; mkdir -p evil/.sbox; echo x > evil/.sbox/config.yaml; git init -q new; echo x > new/.git/hooks/pre-commit; \
        echo y > node_modules/.bin/old; echo x > node_modules/.bin/tsc; mkdir -p .venv/bin; echo x > .venv/bin/python";
    let output = confined(&scratch, &["--bind", text(&at), "/w"], &format!("{TRUST}{script}"));
    let said = stderr(&output);
    for name in ["a/b/.vscode", ".claude", ".envrc", "a/.idea", ".git/commondir", "evil/.sbox"] {
        assert!(said.contains(&format!("created '{}/{name}'", at.display())), "{name}: {said}");
        assert!(at.join(name).symlink_metadata().is_err(), "{name}");
        assert!(moved_away(&at.join(name)), "{name}");
    }
    for told in
        ["created a Git repository at ", "node_modules/.bin/old'", "node_modules/.bin/tsc'", ".venv/bin/python'"]
    {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(!at.join("new/.git/hooks").exists() && moved_away(&at.join("new/.git/hooks")));
    // Nothing more to tell the next time.
    let output = confined(&scratch, &["--bind", text(&at), "/w"], "true");
    assert_eq!(stderr(&output), "");
}

#[test]
fn names_that_an_agent_chose_reach_the_terminal_escaped() {
    let Some(scratch) = Scratch::sandbox("mounts-names") else { return };
    let at = scratch.path("dir");
    std::fs::create_dir(&at).unwrap();
    let script = "cd /w; d=$(printf 'a\\033[31m\\nb'); mkdir \"$d\"; echo x > \"$d/.envrc\"";
    let output = confined(&scratch, &["--bind", text(&at), "/w"], script);
    assert!(stderr(&output).contains("a\\x1b[31m\\nb/.envrc") && !output.stderr.contains(&0x1b), "{}", stderr(&output));
}

#[test]
fn what_is_planted_does_not_stay_while_the_sandbox_runs_nor_when_it_is_killed() {
    let Some(scratch) = Scratch::sandbox("mounts-warden") else { return };
    let at = scratch.path("dir");
    std::fs::create_dir_all(at.join("old/deep")).unwrap();
    // The command itself sees it go, within a time that is long for any host.
    let gone = "i=0; while [ -e $f ]; do i=$((i+1)); [ $i -lt 1000 ] || exit 1; sleep 0.02; done; echo gone";
    for (make, file) in [
        ("echo x > .envrc", ".envrc"),
        ("echo x > old/deep/.mcp.json", "old/deep/.mcp.json"),
        ("mkdir -p new/a/b/.vscode; echo x > new/a/b/.vscode/x", "new/a/b/.vscode"),
        ("mkdir -p away/.claude; echo x > away/.claude/x; mv away old/here", "old/here/.claude"),
    ] {
        let output =
            confined(&scratch, &["--bind", text(&at), "/w", "--chdir", "/w"], &format!("{make}; f={file}; {gone}"));
        assert_eq!(crate::common::stdout(&output), "gone\n", "{make}: {}", stderr(&output));
    }
    // Killed with what was planted a moment ago.
    let mut child = Command::new(crate::common::bin().join("sbox-spawn"))
        .args([
            "--bind",
            text(&at),
            "/w",
            "--",
            "sh",
            "-c",
            "sleep 0.5; mkdir -p /w/late/.idea; echo x > /w/late/.idea/x; echo up; sleep 60",
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 3]).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(becomes(|| !at.join("late/.idea").exists()));
}

#[test]
fn nothing_set_uid_is_left_behind_nor_can_others_reach_what_is_in_the_sandbox() {
    use std::os::unix::fs::PermissionsExt;
    if !need_sandbox() || !need_program("perl") || !cfg!(target_arch = "x86_64") {
        return;
    }
    let scratch = Scratch::new("mounts-suid");
    let at = scratch.path("dir/deep");
    std::fs::create_dir_all(&at).unwrap();
    // openat2 (437) with a struct open_how: flags O_CREAT | O_WRONLY, mode 06755, no resolve flags.
    let make = "perl -e '$how = pack(q(QQQ), 0101, 06755, 0); syscall(437, -100, $n = q(/w/deep/program), $how, 24) >= 0 or exit 9'";
    let output = confined(&scratch, &["--bind", text(&scratch.path("dir")), "/w"], make);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(std::fs::metadata(at.join("program")).unwrap().permissions().mode() & 0o7777, 0o755);
    assert!(stderr(&output).contains("set-uid"), "{}", stderr(&output));
    let Some(spec) = crate::common::need_python() else { return };
    let root = scratch.project("p", &format!("runtime: {spec}\ncmd: 'true'\n"));
    scratch.sbox("p").arg("build").assert().success();
    scratch.sbox("p").arg("run").assert().success();
    assert_eq!(std::fs::metadata(root.join(".sbox")).unwrap().permissions().mode() & 0o777, 0o700);
}
