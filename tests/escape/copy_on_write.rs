//! A project with a copy-on-write mount, from build to apply: the agent does its worst, and the user's git acts for the user alone.

use crate::common::cow::snapshot;
use crate::common::{Scratch, need_python, stderr, stdout};
use predicates::str::contains;
use std::path::PathBuf;
use std::process::Command;

/// A built project that is a repository with one commit.
fn repository(name: &str) -> Option<Scratch> {
    let spec = need_python()?;
    let scratch = Scratch::new(name);
    scratch.project("p", &format!("runtime: {spec}\nworkdir: /work\nmount:\n  - .:/work:cow\n"));
    scratch.write("p/.gitignore", "/.sbox/*\n!/.sbox/config.yaml\n/sbox.lock\n");
    scratch.write("p/file", "one\n");
    git(&scratch, "p", "init -q -b main . && git add -A && git commit -qm first");
    scratch.sbox("p").arg("build").assert().success();
    Some(scratch)
}

/// Git of the user.
fn git(scratch: &Scratch, below: &str, line: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", &format!("git {line}")])
        .current_dir(scratch.path(below))
        .env("HOME", scratch.home())
        .envs([
            ("GIT_AUTHOR_NAME", "u"),
            ("GIT_AUTHOR_EMAIL", "u@u"),
            ("GIT_COMMITTER_NAME", "u"),
            ("GIT_COMMITTER_EMAIL", "u@u"),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "git {line}: {}", stderr(&output));
    stdout(&output)
}

/// A script of the agent's; git knows who it is.
fn agent(scratch: &Scratch, script: &str) {
    let who = "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@a; set -e";
    let output = scratch.sbox("p").args(["run", &format!("{who}\n{script}")]).output().unwrap();
    assert!(output.status.success(), "{script}: {}{}", stdout(&output), stderr(&output));
}

#[test]
fn an_agent_that_does_its_worst_leaves_the_tree_as_it_is() {
    let Some(scratch) = repository("cow-worst") else { return };
    let tree = scratch.path("p");
    let before = snapshot(&tree);
    agent(
        &scratch,
        "echo evil >>file; rm -rf .git/hooks; mkdir .git/hooks; echo evil >.git/hooks/post-checkout; chmod +x .git/hooks/*
         git config core.fsmonitor /work/evil; echo evil >.envrc; mkdir .vscode; ln -s / root; ln -sf /etc/passwd file2
         mkdir d; chmod 0 d; mv .gitignore x; mkfifo p; rm -rf .git/refs; find . -name '*' -type f -exec chmod 0777 {} + || true",
    );
    assert_eq!(snapshot(&tree), before);
    assert!(git(&scratch, "p", "status --porcelain").is_empty());
}

#[test]
fn changes_live_across_runs_and_builds_and_are_applied() {
    let Some(scratch) = repository("cow-flow") else { return };
    agent(&scratch, "echo two >>file");
    agent(&scratch, "grep -q two file; echo new >new");
    scratch.sbox("p").args(["build", "--force"]).assert().success();
    agent(&scratch, "grep -q two file; test -e new");
    let status = stdout(&scratch.sbox("p").arg("status").output().unwrap());
    assert!(status.contains("/work: 2 changes wait"), "{status}");
    scratch.sbox("p").arg("apply").assert().success().stderr(contains("2 changes applied"));
    assert_eq!((scratch.read("p/file"), scratch.read("p/new")), ("one\ntwo\n".into(), "new\n".into()));
    scratch.sbox("p").arg("diff").assert().success().stdout("");
    agent(&scratch, "grep -q two file && test -e new");
}

#[test]
fn git_works_inside() {
    let Some(scratch) = repository("cow-git") else { return };
    git(
        &scratch,
        ".",
        "init -q --bare bare.git && git init -q -b main sub && cd sub && echo s >s && git add s && git commit -qm s",
    );
    let config = scratch.read("p/.sbox/config.yaml");
    let (bare, sub) = (scratch.path("bare.git"), scratch.path("sub"));
    scratch.write(
        "p/.sbox/config.yaml",
        &format!("{config}  - {}:/bare.git\n  - {}:/sub:ro\n", bare.display(), sub.display()),
    );
    scratch.sbox("p").arg("trust").assert().success();
    scratch.sbox("p").arg("build").assert().success();
    let before = snapshot(&scratch.path("p"));
    agent(
        &scratch,
        "git status --porcelain >s0; rm s0; echo two >>file; git commit -qam two; git remote add origin /bare.git; git push -q -u origin main
         echo x >>file; git stash -q; git stash pop -q; git checkout -q -b topic; git commit -qam three; git rebase -q main; git worktree add -q ../tmp/wt main 2>/dev/null || git worktree add -q wt -b other
         git -c protocol.file.allow=always submodule add -q /sub sub; git commit -qm sub; printf '#!/bin/sh\\ntouch ran\\n' >.git/hooks/pre-commit; chmod +x .git/hooks/pre-commit
         git commit -q --allow-empty -m four; test -e ran; git fsck --no-progress",
    );
    assert_eq!(git(&scratch, "bare.git", "log --format=%s main"), "two\nfirst\n");
    assert_eq!(snapshot(&scratch.path("p")), before);
}

#[test]
fn commits_come_over_as_a_branch_and_nothing_else() {
    let Some(scratch) = repository("cow-commits") else { return };
    agent(
        &scratch,
        "echo two >>file; git commit -qam two; echo dirty >>file; git tag evil; git branch other; git notes add -m n",
    );
    scratch.sbox("p").args(["apply", "--commits"]).assert().success().stderr(contains("are the branch 'sbox/main'"));
    assert_eq!(git(&scratch, "p", "log --format=%s sbox/main"), "two\nfirst\n");
    assert_eq!(git(&scratch, "p", "for-each-ref --format='%(refname)'"), "refs/heads/main\nrefs/heads/sbox/main\n");
    assert_eq!(scratch.read("p/file"), "one\n");
    scratch.sbox("p").args(["apply", "--commits"]).assert().success();
    scratch
        .sbox("p")
        .args(["apply", "--commits", "nowhere"])
        .assert()
        .code(1)
        .stderr(contains("there is no branch 'nowhere' inside"));
    // A branch of the user's that went on is not lost.
    git(&scratch, "p", "checkout -q sbox/main && git commit -q --allow-empty -m mine && git checkout -q main");
    agent(&scratch, "git commit -q --amend -am amended");
    scratch
        .sbox("p")
        .args(["apply", "--commits"])
        .assert()
        .code(1)
        .stderr(contains("has commits that the agent's 'main' has not"));
    assert_eq!(git(&scratch, "p", "log --format=%s -1 sbox/main"), "mine\n");
}

#[test]
fn nothing_of_the_agents_repository_is_run_when_its_commits_come_over() {
    let Some(scratch) = repository("cow-hostile") else { return };
    let marks = scratch.path("marks");
    std::fs::create_dir(&marks).unwrap();
    let mark = |name: &str| format!("{}/{name}", marks.display());
    let script = format!(
        "for h in reference-transaction post-checkout pre-auto-gc post-rewrite pre-commit; do printf '#!/bin/sh\\ntouch {m}; true' >.git/hooks/$h; chmod +x .git/hooks/$h; done
         printf '* filter=evil diff=evil\\n' >.gitattributes; git config filter.evil.clean 'touch {m}; cat'; git config filter.evil.smudge 'touch {m}; cat'
         git config diff.evil.command 'touch {m}'; git config diff.evil.textconv 'touch {m}'; git config core.fsmonitor 'touch {m}; false'
         git config uploadpack.packObjectsHook 'touch {m}'; git config core.sshCommand 'touch {m}'; git config alias.bundle '!touch {m}'; git config gpg.program 'touch {m}'; git config include.path /work/evil.cfg
         git config remote.x.url 'ext::touch {m}'; git config credential.helper '!touch {m}'
         mkdir -p .git/objects/info; echo {out}/.git/objects >.git/objects/info/alternates
         echo two >>file; git add file; git commit -qm two
         git replace HEAD HEAD~1 2>/dev/null || true",
        m = mark("inside"),
        out = scratch.path("elsewhere").display(),
    );
    agent(&scratch, &script);
    let before = std::fs::read(scratch.path("p/.git/config")).unwrap();
    scratch.sbox("p").args(["apply", "--commits"]).assert().success();
    assert_eq!(std::fs::read_dir(&marks).unwrap().count(), 0, "nothing ran on the host");
    assert_eq!(std::fs::read(scratch.path("p/.git/config")).unwrap(), before);
    let hooks = std::fs::read_dir(scratch.path("p/.git/hooks")).unwrap().flatten();
    assert!(hooks.map(|hook| hook.file_name().into_string().unwrap()).all(|name| name.ends_with(".sample")));
    assert!(!scratch.path("p/.git/objects/info/alternates").exists() && !scratch.path("p/.git/refs/replace").exists());
    // What was committed, not what replaced it.
    assert_eq!(git(&scratch, "p", "log --format=%s sbox/main"), "two\nfirst\n");
}

#[test]
fn objects_that_would_harm_the_host_are_refused() {
    let Some(scratch) = repository("cow-objects") else { return };
    agent(
        &scratch,
        "blob=$(echo evil | git hash-object -w --stdin)
         inner=$(printf '100644 blob %s\\tconfig\\n' $blob | git mktree)
         tree=$(printf \"40000 .git\\0$(echo $inner | sed 's/../\\\\\\\\x&/g')\" >/tmp/t; python3 -c \"import sys; sys.stdout.buffer.write(b'40000 .git\\0' + bytes.fromhex('$inner'))\" | git hash-object -w -t tree --literally --stdin)
         commit=$(echo evil | git commit-tree $tree -p HEAD); git update-ref refs/heads/main $commit",
    );
    scratch
        .sbox("p")
        .args(["apply", "--commits"])
        .assert()
        .code(1)
        .stderr(contains("git refused what came out of the sandbox"));
    assert_eq!(git(&scratch, "p", "for-each-ref --format='%(refname)'"), "refs/heads/main\n");
}

#[test]
fn a_linked_working_tree_brings_its_repository_along() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("cow-linked");
    scratch.write("main/file", "one\n");
    git(
        &scratch,
        "main",
        "init -q -b main . && git add -A && git commit -qm first && git worktree add -q ../p -b topic",
    );
    scratch.project("p", &format!("runtime: {spec}\nworkdir: /work\nmount:\n  - .:/work:cow\n"));
    scratch.sbox("p").arg("build").assert().success();
    let before = snapshot(&scratch.path("main"));
    agent(&scratch, "echo two >>file; git commit -qam two; test $(git log --format=%s | wc -l) = 2");
    assert_eq!(snapshot(&scratch.path("main")), before);
    scratch.sbox("p").args(["apply", "--commits"]).assert().success();
    assert_eq!(git(&scratch, "main", "log --format=%s sbox/topic"), "two\nfirst\n");
}

#[test]
fn a_forged_link_to_a_repository_brings_nothing_along() {
    let Some(scratch) = Scratch::sandbox("cow-forged") else { return };
    scratch.write("victim/.git/HEAD", "ref: refs/heads/main\n");
    for name in ["objects", "refs", "worktrees/x"] {
        std::fs::create_dir_all(scratch.path("victim/.git").join(name)).unwrap();
    }
    scratch.write("victim/.git/worktrees/x/commondir", "../..\n");
    scratch.write("victim/.git/worktrees/x/gitdir", &format!("{}\n", scratch.path("other/.git").display()));
    let gitdir: PathBuf = scratch.path("victim/.git/worktrees/x");
    scratch.write("p/.git", &format!("gitdir: {}\n", gitdir.display()));
    assert_eq!(libsbox::cow::common_directory(&scratch.path("p")), None);
    scratch.write("victim/.git/worktrees/x/gitdir", &format!("{}\n", scratch.path("p/.git").display()));
    assert_eq!(
        libsbox::cow::common_directory(&scratch.path("p")),
        Some(scratch.path("victim/.git")),
        "a real one does"
    );
}

#[test]
fn level_landlock_works_on_a_private_copy_and_env_refuses() {
    let Some(scratch) = repository("cow-levels") else { return };
    let before = snapshot(&scratch.path("p"));
    let output =
        scratch.sbox("p").args(["run", "--isolation", "landlock", "echo two >>file && echo x >new"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(snapshot(&scratch.path("p")), before);
    scratch.sbox("p").args(["diff", "--name-only"]).assert().success().stdout("file\nnew\n");
    scratch
        .sbox("p")
        .args(["run", "--isolation", "env", "true"])
        .assert()
        .code(125)
        .stderr(contains("Level 'env' cannot give copy-on-write"));
    scratch.sbox("p").arg("apply").assert().success();
    assert_eq!(scratch.read("p/file"), "one\ntwo\n");
}

#[test]
fn a_branch_without_a_common_beginning_and_a_name_for_the_shell_is_told_of_safely() {
    let Some(scratch) = repository("cow-orphan") else { return };
    agent(
        &scratch,
        "git checkout -q --orphan 'x;touch${IFS}PWN'; echo evil >.envrc; git add -A; git commit -qm orphan",
    );
    let output = scratch.sbox("p").args(["apply", "--commits"]).output().unwrap();
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(".envrc: direnv runs it"), "{text}");
    assert!(text.contains("git log 'sbox/x;touch${IFS}PWN'; git diff '...sbox/x;touch${IFS}PWN'"), "{text}");
}
