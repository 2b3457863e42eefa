//! Working trees that are mounted read-write: the agent plants code, and the user goes on working on the host.
//!
//! Every plant is made on the host too, in a tree of its own, where the same act of the user's runs it: a marker appears.

use super::mounts::{TRUST, moved_away, repository};
use super::{confined, text};
use crate::common::{Scratch, becomes, need_program, need_sandbox, stderr, stdout};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// A tree of the user's with a repository, and a place for a marker.
pub(super) struct Tree {
    pub(super) scratch: Scratch,
    pub(super) at: PathBuf,
    pub(super) mark: PathBuf,
}

impl Tree {
    pub(super) fn new(name: &str) -> Option<Tree> {
        if !need_sandbox() || !need_program("git") {
            return None;
        }
        let scratch = Scratch::new(name);
        let (at, mark) = (scratch.path("tree"), scratch.path("mark"));
        repository(&at);
        Some(Tree { scratch, at, mark })
    }

    /// What the user does, at the top of `tree`: whether it ran the marker.
    pub(super) fn act(&self, tree: &Path, script: &str) -> bool {
        let _ = std::fs::remove_file(&self.mark);
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(tree).env("HOME", self.scratch.home());
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
        self.mark.exists()
    }

    /// `MARK` in a script is the command that leaves the marker.
    pub(super) fn with_mark(&self, script: &str) -> String {
        script.replace("MARK", &format!("touch {}", self.mark.display()))
    }

    /// The plant works on the host, and made inside it does nothing when the user acts after the end.
    pub(super) fn is_harmless(&self, prepare: &str, plant: &str, act: &str) -> String {
        let control = self.scratch.path("control");
        repository(&control);
        let (plant, prepare) = (self.with_mark(plant), self.with_mark(prepare));
        self.act(&control, &format!("({prepare}); ({plant})"));
        assert!(self.act(&control, act), "the control does nothing: {plant}");
        self.act(&self.at, &prepare);
        let output =
            confined(&self.scratch, &["--bind", text(&self.at), "/w", "--chdir", "/w"], &format!("{TRUST}{plant}"));
        assert!(!self.act(&self.at, act), "ran on the host: {plant}\n{}", stderr(&output));
        let _ = Command::new("chmod").args(["-R", "u+rwx"]).arg(&control).status();
        std::fs::remove_dir_all(control).unwrap();
        stderr(&output)
    }

    /// A sandbox that runs `script` for each line that it gets, and answers with the last line.
    pub(super) fn running(&self, options: &[&str]) -> Shell {
        self.running_by(Command::new(crate::common::bin().join("sbox-spawn")), options)
    }

    /// The same by a command that starts `sbox-spawn` with the arguments that follow.
    pub(super) fn running_by(&self, mut command: Command, options: &[&str]) -> Shell {
        let mut child = command
            .args(["--bind", text(&self.at), "/w", "--chdir", "/w"])
            .args(options)
            .args(["--", "sh", "-c", &format!("{TRUST}while read -r line; do eval \"$line\"; echo done; done")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut shell = Shell { child, stdin, stdout };
        shell.ask("true");
        shell
    }
}

pub(super) struct Shell {
    pub(super) child: Child,
    pub(super) stdin: Option<ChildStdin>,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Shell {
    /// What the line printed.
    pub(super) fn ask(&mut self, line: &str) -> String {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut said = String::new();
        loop {
            let mut one = String::new();
            assert_ne!(self.stdout.read_line(&mut one).unwrap(), 0, "the sandbox ended at: {line}");
            if one == "done\n" {
                return said;
            }
            said.push_str(&one);
        }
    }

    pub(super) fn end(mut self) -> String {
        drop(self.stdin.take());
        let mut said = String::new();
        std::io::Read::read_to_string(self.child.stderr.as_mut().unwrap(), &mut said).unwrap();
        self.child.wait().unwrap();
        said
    }
}

#[test]
fn a_file_that_the_user_replaced_meanwhile_is_protected_again_g1() {
    let Some(tree) = Tree::new("tree-replaced") else { return };
    std::fs::write(tree.at.join(".envrc"), "old").unwrap();
    let mut shell = tree.running(&[]);
    let refused = "(echo 'evil' >> FILE) 2>/dev/null && echo written || echo refused";
    for (file, replace) in [
        (".git/config", "git config user.name b"),
        (".git/config", "git remote add origin https://example.org/x"),
        (".envrc", "echo new > .envrc.tmp; mv .envrc.tmp .envrc"),
    ] {
        let attempt = refused.replace("FILE", file);
        assert_eq!(shell.ask(&attempt), "refused\n", "{file}: before");
        tree.act(&tree.at, replace);
        // A moment later; what is written before that is seen by the next line.
        let covered =
            format!("i=0; while [ -w {file} ]; do i=$((i+1)); [ $i -lt 500 ] || break; sleep 0.02; done; {attempt}");
        assert_eq!(shell.ask(&covered), "refused\n", "{file}: after {replace}");
    }
    shell.end();
    assert!(!std::fs::read_to_string(tree.at.join(".git/config")).unwrap().contains("evil"));
    assert_eq!(std::fs::read_to_string(tree.at.join(".envrc")).unwrap(), "new\n");
}

#[test]
fn what_is_planted_in_a_directory_that_cannot_be_listed_is_found_g2() {
    let Some(tree) = Tree::new("tree-unlisted") else { return };
    tree.is_harmless("true", "mkdir d; echo 'MARK' > d/.envrc; chmod 0311 d", "cd d && . ./.envrc");
    tree.is_harmless("true", "mkdir -m 0311 e; echo 'MARK' > e/.envrc; chmod 0311 e", "cd e && . ./.envrc");
    // One that the user had keeps its mode, and is looked into, too: a new file, one below, one of a name like none, and
    // what was there.
    let monitor = "printf '[core]\\n\\tfsmonitor = \"MARK; false\"\\n'";
    for (prepare, plant, act) in [
        ("true", "echo 'MARK' > u/.envrc".to_owned(), ". u/.envrc"),
        ("mkdir u/g", "echo 'MARK' > u/g/.envrc".into(), ". u/g/.envrc"),
        ("true", "echo 'MARK' > u/x.code-workspace".into(), ". u/x.code-workspace"),
        ("git init -q u", format!("{monitor} >> u/.git/config"), "cd u && git status"),
        ("true", format!("git init -q u; {monitor} >> u/.git/config"), "cd u && git status"),
    ] {
        let prepare = format!("chmod -R u+rwx u; rm -rf u; mkdir u; {prepare}; chmod 0311 u");
        tree.is_harmless(&prepare, &plant, act);
        let mode = std::os::unix::fs::PermissionsExt::mode(&tree.at.join("u").metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o311);
    }
    tree.act(&tree.at, "chmod -R u+rwx u");
}

#[test]
fn a_repository_is_recognised_without_its_name_g3() {
    let Some(tree) = Tree::new("tree-bare") else { return };
    let monitor = "git config core.fsmonitor 'MARK; false'";
    let bare = format!("git init -q --bare b; cd b; git config core.bare false; git config core.worktree .; {monitor}");
    tree.is_harmless("true", &bare, "cd b && git status");
    // Signs last, settings last, and settings that are changed once more.
    let parts = "mkdir -p c/objects c/refs; printf '[core]\\n\\trepositoryformatversion = 0\\n\\tbare = false\\n\\tworktree = .\\n\\tfsmonitor = \"MARK; false\"\\n' > c/config; echo 'ref: refs/heads/x' > c/HEAD";
    tree.is_harmless("true", parts, "cd c && git status");
    let late = "git init -q --bare e; sleep 0.3; printf '[core]\\n\\trepositoryformatversion = 0\\n\\tbare = false\\n\\tworktree = .\\n\\tfsmonitor = \"MARK; false\"\\n' > e/config";
    tree.is_harmless("true", late, "cd e && git status");
    let apart = format!("git init -q --separate-git-dir=store sub; cd sub; {monitor}");
    tree.is_harmless("true", &apart, "cd sub && git status");
    let hook = "git init -q --bare h; cd h; git config core.bare false; git config core.worktree .; echo 'MARK' > hooks/pre-commit; chmod +x hooks/pre-commit";
    tree.is_harmless("true", hook, "cd h && git -c user.name=a -c user.email=a commit -q --allow-empty -m x");
}

#[test]
fn renaming_a_directory_above_makes_nothing_of_the_agents_known_g4() {
    let Some(tree) = Tree::new("tree-exchanged") else { return };
    let prepare = "mkdir -p sub/.sbox; echo 'cmd: mine' > sub/.sbox/config.yaml; echo mine > sub/.envrc";
    tree.is_harmless(prepare, "mv sub sub.old; mkdir sub; echo 'MARK' > sub/.envrc", "cd sub && . ./.envrc");
    assert_eq!(std::fs::read_to_string(tree.at.join("sub.old/.envrc")).unwrap(), "mine\n");
    tree.is_harmless(
        "rm -rf sub sub.old; mkdir -p sub/.sbox; echo 'cmd: mine' > sub/.sbox/config.yaml",
        "mv sub sub.old; mkdir -p sub/.sbox; echo 'MARK' > sub/.sbox/config.yaml",
        "sh sub/.sbox/config.yaml",
    );
    assert_eq!(std::fs::read_to_string(tree.at.join("sub.old/.sbox/config.yaml")).unwrap(), "cmd: mine\n");
    assert!(moved_away(&tree.at.join("sub/.sbox")));
}

#[test]
fn a_new_repository_that_runs_something_is_dealt_with_at_once_g7() {
    let Some(tree) = Tree::new("tree-gitlink") else { return };
    let plant = tree.with_mark(
        "git init -q sub; cd sub; git -c user.name=a -c user.email=a commit -q --allow-empty -m x; cd ..; \
         git update-index --add --cacheinfo 160000,$(git -C sub rev-parse HEAD),sub; git -C sub config core.fsmonitor 'MARK; false'",
    );
    let control = tree.scratch.path("control");
    repository(&control);
    tree.act(&control, &plant);
    assert!(tree.act(&control, "git status"));
    let mut shell = tree.running(&[]);
    shell.ask(&plant);
    // While it runs: the configuration has another name within a moment.
    assert!(becomes(|| moved_away(&tree.at.join("sub/.git/config"))));
    assert!(!tree.act(&tree.at, "git status"));
    assert!(shell.end().contains("sub/.git/config"));
    // One whose settings run nothing is left as it is.
    let honest =
        "git init -q other; git -C other remote add origin https://example.org/x; git -C other config user.name b";
    confined(&tree.scratch, &["--bind", text(&tree.at), "/w", "--chdir", "/w"], &format!("{TRUST}{honest}"));
    assert!(std::fs::read_to_string(tree.at.join("other/.git/config")).unwrap().contains("example.org"));
}

#[test]
fn neither_taken_names_nor_read_only_directories_keep_a_plant_in_place_g8() {
    let Some(tree) = Tree::new("tree-names") else { return };
    let names =
        "for i in $(seq 0 120); do : > .envrc.from-sandbox-$i; done; : > .envrc.from-sandbox; echo 'MARK' > .envrc";
    tree.is_harmless("true", names, ". ./.envrc");
    tree.is_harmless("true", "mkdir d; echo 'MARK' > d/.envrc; chmod 0555 d", "cd d && . ./.envrc");
    tree.is_harmless(
        "true",
        "mkdir e; chmod 0555 e; chmod u+w e; echo 'MARK' > e/.envrc; chmod 0111 e",
        "cd e && . ./.envrc",
    );
}

#[test]
fn a_flood_of_renames_holds_up_neither_the_end_nor_a_signal_g9() {
    let Some(tree) = Tree::new("tree-flood") else { return };
    // A directory of 500 directories, renamed 20,000 times, and a plant in it.
    let flood = "mkdir a; cd a; for i in $(seq 500); do mkdir d$i; done; cd ..; echo 'MARK' > a/d7/.envrc; \
        perl -e 'for (1..10000) { rename(\"a\", \"b\"); rename(\"b\", \"a\") }'";
    if !need_program("perl") {
        return;
    }
    let begin = std::time::Instant::now();
    let flood = tree.with_mark(flood);
    confined(&tree.scratch, &["--bind", text(&tree.at), "/w", "--chdir", "/w"], &flood);
    assert!(begin.elapsed().as_secs() < 30, "{:?}", begin.elapsed());
    assert!(!tree.at.join("a/d7/.envrc").exists() && moved_away(&tree.at.join("a/d7/.envrc")));
}

#[test]
fn a_watcher_that_is_behind_does_not_make_the_launcher_deaf_g9() {
    let Some(tree) = Tree::new("tree-behind") else { return };
    let mut shell = tree.running(&[]);
    let monitor = shell.child.id();
    assert!(becomes(|| watcher_of(monitor).is_some()));
    let watcher = watcher_of(monitor).unwrap();
    let send = |signal: &str, pid: &str| Command::new("kill").args([signal, pid]).status().unwrap().success();
    // As far behind as can be: it does nothing at all, and the launcher waits for it.
    assert!(send("-STOP", &watcher));
    drop(shell.stdin.take());
    let is_over = || {
        let children = std::fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children")).unwrap_or_default();
        children.split_whitespace().all(|pid| pid == watcher)
    };
    assert!(becomes(is_over));
    assert!(shell.child.try_wait().unwrap().is_none(), "it did not wait");
    assert!(send("-TERM", &monitor.to_string()));
    let stat = || std::fs::read_to_string(format!("/proc/{monitor}/stat")).unwrap_or_default();
    let ended = becomes(|| stat().contains(") Z "));
    assert!(send("-KILL", &watcher));
    assert!(ended, "a signal did not end the waiting");
    assert!(shell.end().contains("interrupted while looking"));
}

/// The watcher that the process `monitor` started.
fn watcher_of(monitor: u32) -> Option<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (pid, rest) = stat.split_once(" (sbox-watcher) ")?;
        (rest.split(' ').nth(1)? == monitor.to_string()).then(|| pid.to_owned())
    });
    all.last()
}

#[test]
fn one_sandbox_does_not_take_all_inotify_instances_of_the_user_g10() {
    let Some(tree) = Tree::new("tree-inotify") else { return };
    let most: usize =
        std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap().trim().parse().unwrap();
    let Some(()) = need_program("perl").then_some(()) else { return };
    // inotify_init1 is 294 on x86-64 and 26 elsewhere.
    let number = if cfg!(target_arch = "x86_64") { 294 } else { 26 };
    let count = format!("perl -e '$n = 0; $n++ while $n < 5000 && syscall({number}, 0) >= 0; print $n'");
    let output = confined(&tree.scratch, &["--bind", text(&tree.at), "/w"], &count);
    let taken: usize = stdout(&output).parse().unwrap();
    assert!(taken > 0 && taken <= most.div_ceil(2), "{taken} of {most}");
}

#[test]
fn a_mounted_git_directory_is_guarded_by_what_it_is_g11() {
    let Some(tree) = Tree::new("tree-git-itself") else { return };
    let git = tree.at.join(".git");
    let monitor = tree.with_mark("MARK; false");
    for attempt in [
        format!("GIT_DIR=/repo git config core.fsmonitor '{monitor}'"),
        format!("printf '[core]\\n\\tfsmonitor = \"{monitor}\"\\n' >> /repo/config"),
        "echo x > /repo/hooks/pre-commit".into(),
    ] {
        let output = confined(&tree.scratch, &["--bind", text(&git), "/repo"], &format!("{TRUST}{attempt}"));
        assert!(!output.status.success(), "{attempt}");
    }
    // A setting of the worktree's own that names no program stays.
    let honest = "printf '[core]\\n\\tsparseCheckout = true\\n' > /repo/config.worktree";
    confined(&tree.scratch, &["--bind", text(&git), "/repo"], honest);
    assert!(git.join("config.worktree").exists());
    std::fs::remove_file(git.join("config.worktree")).unwrap();
    let evil = format!("printf '[core]\\n\\tfsmonitor = \"{monitor}\"\\n' > /repo/config.worktree");
    confined(&tree.scratch, &["--bind", text(&git), "/repo"], &evil);
    assert!(!git.join("config.worktree").exists());
}

#[test]
fn what_hooks_and_settings_lead_to_is_read_only_too_g12() {
    let Some(tree) = Tree::new("tree-led") else { return };
    let commit = "git -c user.name=a -c user.email=a commit -q --allow-empty -m x";
    let hooks = "mkdir -p tools; printf '#!/bin/sh\\n' > tools/pre-commit; chmod +x tools/pre-commit; git config core.hooksPath tools";
    tree.is_harmless(hooks, "echo 'MARK' >> tools/pre-commit", commit);
    tree.is_harmless("git config --unset core.hooksPath; mkdir -p lib; printf '#!/bin/sh\\n' > lib/hook; chmod +x lib/hook; mkdir -p .git/hooks; ln -sf ../../lib/hook .git/hooks/pre-commit", "echo 'MARK' >> lib/hook", commit);
    // Not there yet: it is watched for.
    tree.is_harmless(
        "rm -f .git/hooks/pre-commit; git config include.path ../shared.config",
        "printf '[core]\\n\\tfsmonitor = \"MARK; false\"\\n' > shared.config",
        "git status",
    );
    tree.is_harmless(
        "git config --unset include.path; mkdir -p conf; echo true > conf/env; ln -sf conf/env .envrc",
        "echo 'MARK' >> conf/env",
        ". ./.envrc",
    );
}

#[test]
fn names_that_hosts_act_on_cannot_be_planted_nor_links_of_them_replaced_g13() {
    let Some(tree) = Tree::new("tree-table") else { return };
    for name in [
        ".codex/config.toml",
        ".cursor/mcp.json",
        ".gemini/settings.json",
        ".husky/pre-commit",
        ".devcontainer/devcontainer.json",
        ".zed/settings.json",
        ".yarnrc.yml",
        ".pnpmfile.cjs",
        ".cargo/config.toml",
        "rust-toolchain.toml",
        "mise.toml",
        "x.code-workspace",
        ".gitconfig",
        ".ripgreprc",
        ".vimrc",
        ".exrc",
        ".gdbinit",
        ".lldbinit",
        ".direnvrc",
        ".pythonrc",
        "deep/down/.cargo/config.toml",
    ] {
        tree.is_harmless("true", &format!("mkdir -p $(dirname {name}); echo 'MARK' > {name}"), &format!("sh {name}"));
    }
    // A link that the user had, to nowhere: what it leads to, and what takes its place.
    let prepare = "ln -s settings/claude .claude";
    tree.is_harmless(prepare, "mkdir -p settings/claude; echo 'MARK' > settings/claude/hook", "sh .claude/hook");
    tree.is_harmless("true", "rm .claude; mkdir .claude; echo 'MARK' > .claude/hook", "sh .claude/hook");
    assert_eq!(std::fs::read_link(tree.at.join(".claude")).unwrap(), Path::new("settings/claude"));
    // A name that gets its meaning by a rename.
    tree.is_harmless("true", "mkdir x; echo 'MARK' > x/config.toml; sleep 0.3; mv x .cargo", "sh .cargo/config.toml");
}

#[test]
fn an_empty_placeholder_is_left_alone_and_goes_at_the_end_g14() {
    let Some(tree) = Tree::new("tree-placeholder") else { return };
    let mut shell = tree.running(&[]);
    assert_eq!(shell.ask("mkdir .claude .codex; : > .mcp.json; : > .git/config.worktree; sleep 0.4; ls -d .claude .mcp.json .git/config.worktree | wc -l"), "3\n");
    // With content it is dealt with at once.
    shell.ask("echo x > .codex/config.toml");
    assert!(becomes(|| moved_away(&tree.at.join(".codex"))));
    shell.ask("echo x > .mcp.json");
    assert!(becomes(|| moved_away(&tree.at.join(".mcp.json"))));
    shell.end();
    assert!(!tree.at.join(".claude").exists() && !tree.at.join(".mcp.json").exists());
    // What the user had is not removed for being empty.
    std::fs::create_dir(tree.at.join(".idea")).unwrap();
    confined(&tree.scratch, &["--bind", text(&tree.at), "/w"], "true");
    assert!(tree.at.join(".idea").is_dir());
}

#[test]
fn a_busy_configuration_of_git_is_explained_at_the_end_g15() {
    let Some(tree) = Tree::new("tree-busy") else { return };
    let output = confined(
        &tree.scratch,
        &["--bind", text(&tree.at), "/w", "--chdir", "/w"],
        &format!("{TRUST}git remote add origin https://example.org/x"),
    );
    let said = stderr(&output);
    assert!(said.contains("Device or resource busy") && said.contains("copy-on-write"), "{said}");
}

#[test]
fn nothing_is_said_while_the_command_has_the_terminal_g16() {
    let Some(tree) = Tree::new("tree-silent") else { return };
    let output = Command::new("sh")
        .args(["-c", "\"$0\" \"$@\" 2>&1"])
        .arg(crate::common::bin().join("sbox-spawn"))
        .args(["--bind", text(&tree.at), "/w", "--chdir", "/w", "--", "sh", "-c"])
        .arg("echo x > .envrc; while [ -e .envrc ]; do sleep 0.02; done; sleep 0.2; echo LAST")
        .output()
        .unwrap();
    let said = stdout(&output);
    let (before, after) = said.split_once("LAST").unwrap();
    assert!(before.is_empty() && after.contains(".envrc"), "{said}");
}

#[test]
fn no_depth_hides_a_plant_g19() {
    let Some(tree) = Tree::new("tree-deep") else { return };
    let plant = "for i in $(seq 100); do mkdir d; cd d; done; echo 'MARK' > .envrc";
    tree.is_harmless("true", plant, "for i in $(seq 100); do cd d; done; . ./.envrc");
    // Deeper than a path can be long: a shell gets there step by step, and so does whoever looks.
    if need_program("perl") {
        let plant = "perl -e 'for (1..600) { mkdir \"long-name-$_\"; chdir \"long-name-$_\" or die } open F, \">.envrc\"; print F \"MARK\"'";
        let act = "perl -e 'for (1..600) { chdir \"long-name-$_\" or exit } exec \"sh\", \".envrc\"'";
        tree.is_harmless("true", &plant.replace("MARK", &format!("touch {}", tree.mark.display())), act);
    }
}

#[test]
fn a_killed_watcher_is_noticed_and_made_up_for_f9() {
    let Some(tree) = Tree::new("tree-killed") else { return };
    let mut shell = tree.running(&[]);
    let monitor = shell.child.id();
    let watcher = || watcher_of(monitor);
    assert!(becomes(|| watcher().is_some()));
    // The launcher ends a sandbox whose watcher is gone: it is held until something was planted meanwhile.
    let signal = |name: &str, pid: &str| assert!(Command::new("kill").args([name, pid]).status().unwrap().success());
    signal("-STOP", &monitor.to_string());
    signal("-9", &watcher().unwrap());
    shell.ask("echo x > .envrc");
    signal("-CONT", &monitor.to_string());
    let said = shell.end();
    assert!(said.contains("watcher") && moved_away(&tree.at.join(".envrc")), "{said}");
}

#[test]
fn a_link_in_a_writable_mount_leads_no_other_mount_outside_g5() {
    let Some(tree) = Tree::new("tree-inner") else { return };
    std::fs::create_dir(tree.at.join("data")).unwrap();
    tree.scratch.write("secret/key", "canary");
    let secret = tree.scratch.path("secret");
    let data = tree.at.join("data");
    let options = ["--bind", text(&tree.at), "/w", "--bind", text(&data), "/data"];
    let first = confined(&tree.scratch, &options, &format!("mv /w/data /w/old; ln -s '{}' /w/data", secret.display()));
    assert!(first.status.success(), "{}", stderr(&first));
    // By its path it leads outside; the next run does not follow it.
    assert_eq!(std::fs::read_to_string(data.join("key")).unwrap(), "canary");
    for options in [&options[..], &["--bind", text(&tree.at), "/w", "--ro-bind", text(&data), "/data"]] {
        let second = super::asked(&tree.scratch, options, "cat /data/key");
        assert_eq!(second.status.code(), Some(125), "{}", stdout(&second));
        assert!(stderr(&second).contains("which a sandbox can change"), "{}", stderr(&second));
    }
    // A file of another name's, and a directory above.
    let deep = tree.at.join("data/key");
    let third =
        super::asked(&tree.scratch, &["--bind", text(&tree.at), "/w", "--ro-bind", text(&deep), "/key"], "cat /key");
    assert_eq!(third.status.code(), Some(125), "{}", stdout(&third));
    // Without the outer mount the link is the user's own.
    let own = confined(&tree.scratch, &["--ro-bind", text(&data), "/data"], "cat /data/key");
    assert_eq!(stdout(&own), "canary");
}

#[test]
fn the_hosts_system_v_memory_is_out_of_reach_without_namespaces_g20() {
    let Some(tree) = Tree::new("tree-shm") else { return };
    if !need_program("perl") || !cfg!(target_arch = "x86_64") {
        return;
    }
    // shmget (29) with IPC_PRIVATE, and shmat (30) and shmctl (31) of an id that was made outside.
    let make = "perl -e '$id = syscall(29, 0, 4096, 01600); die if $id < 0; print $id'";
    let outside = Command::new("sh").args(["-c", make]).output().unwrap();
    let id = stdout(&outside);
    assert!(!id.is_empty());
    let options = ["--isolation", "landlock", "--bind", text(&tree.at), text(&tree.at)];
    for call in [
        "syscall(29, 0, 4096, 01600)".to_owned(),
        format!("syscall(30, {id}, 0, 010000)"),
        format!("syscall(31, {id}, 2, $b = chr(0) x 256)"),
    ] {
        let script = format!("perl -e 'exit(({call}) == -1 ? 7 : 0)'");
        let control = Command::new("sh").args(["-c", &script]).status().unwrap();
        assert!(control.success(), "{call}");
        let output = super::asked(&tree.scratch, &options, &script);
        assert_eq!(output.status.code(), Some(7), "{call}: {}", stderr(&output));
    }
    Command::new("perl").args(["-e", &format!("syscall(31, {id}, 0, 0)")]).status().unwrap();
}

#[test]
fn a_changed_hook_is_reported_where_nothing_can_be_covered_g20() {
    let Some(tree) = Tree::new("tree-landlock") else { return };
    std::fs::write(tree.at.join(".git/hooks/post-commit"), "#!/bin/sh\n").unwrap();
    std::fs::write(tree.at.join(".envrc"), "x").unwrap();
    let options = ["--isolation", "landlock", "--bind", text(&tree.at), text(&tree.at)];
    let script = format!("echo evil >> '{0}/.git/hooks/post-commit'; echo evil >> '{0}/.envrc'", tree.at.display());
    let output = super::asked(&tree.scratch, &options, &script);
    let said = stderr(&output);
    assert!(said.contains(".git/hooks") && said.contains(".envrc' was changed"), "{said}");
    // One that is replaced by a rename is not the user's there. Contents are compared, not times.
    let script = format!(
        "cd '{}'; for i in .git/config .envrc; do echo more | cat $i - > x; mv x $i; done; \
         chmod +x .git/hooks/post-commit; cp -p .git/description y; mv y .git/description",
        tree.at.display()
    );
    std::fs::write(tree.at.join(".mcp.json"), "{}").unwrap();
    let script = format!("{script}; cp -p .mcp.json z; mv z .mcp.json");
    let said = stderr(&super::asked(&tree.scratch, &options, &script));
    for changed in [".git/config' was changed", ".git/hooks' was changed", ".envrc' was changed"] {
        assert!(said.contains(changed), "{changed}: {said}");
    }
    assert!(!said.contains(".mcp.json"), "{said}");
}
