//! The guard of read-write mounts, where a name or a place is not what it seems: links, `.git` files, hard links, mappings.

use super::mounts::{TRUST, moved_away};
use super::working_tree::Tree;
use super::{confined, text};
use crate::common::{Scratch, becomes, bin, is_root, need_program, need_sandbox, stderr, stdout};
use std::process::Command;

/// Settings that make `git status` leave the marker, for printf(1).
const MONITOR: &str =
    "printf '[core]\\n\\trepositoryformatversion = 0\\n\\tbare = false\\n\\tfsmonitor = \"MARK; false\"\\n'";

const COMMIT: &str = "git -c user.name=a -c user.email=a commit -q --allow-empty -m x";

#[test]
fn a_git_file_leads_to_no_place_that_nobody_watches() {
    let Some(tree) = Tree::new("guard-pointer") else { return };
    let evil = "rm -rf .git/PLACE sub; git init -q .git/PLACE; git -C .git/PLACE config core.fsmonitor 'MARK; false'; mkdir sub";
    for place in ["objects/evil", "refs/evil", "logs/evil", "lfs/evil"] {
        for lead in ["echo 'gitdir: ../.git/PLACE/.git' > sub/.git", "ln -s ../.git/PLACE/.git sub/.git"] {
            let plant = format!("{evil}; {lead}").replace("PLACE", place);
            tree.is_harmless("true", &plant, "cd sub && git status");
        }
        // Through a directory link, and one that leads there only later.
        let around = format!(
            "{evil}; rm -rf sub m; mkdir sub; echo 'gitdir: ../m/evil/.git' > sub/.git; sleep 0.2; ln -s .git/{} m",
            place.split('/').next().unwrap()
        );
        tree.is_harmless("true", &around.replace("PLACE", place), "cd sub && git status");
        let other = format!("{evil}; git init -q .git/modules/s; echo 'gitdir: ../.git/modules/s/.git' > x; ln x sub/.git; sleep 0.4; echo 'gitdir: ../.git/PLACE/.git' > x").replace("PLACE", place);
        tree.is_harmless("true", &other, "cd sub && git status");
        let entered = format!("{evil}; rm -rf sub; ln -s .git/PLACE sub").replace("PLACE", place);
        tree.is_harmless("true", &entered, "cd sub && git status");
    }
    // What git makes itself stays: a worktree, and a submodule's file.
    let honest = "rm -rf sub; git init -q .git/modules/s; mkdir sub; echo 'gitdir: ../.git/modules/s/.git' > sub/.git; \
        git worktree add -q wt; ls -d sub/.git wt/.git .git/worktrees/wt/commondir";
    let output =
        confined(&tree.scratch, &["--bind", text(&tree.at), "/w", "--chdir", "/w"], &format!("{TRUST}{honest}"));
    assert_eq!(stdout(&output).lines().count(), 3, "{}", stderr(&output));
    for kept in ["sub/.git", "wt/.git", ".git/worktrees/wt/commondir"] {
        assert!(tree.at.join(kept).exists(), "{kept}: {}", stderr(&output));
    }
}

#[test]
fn nothing_in_a_mount_leads_into_the_sandboxs_own_files() {
    if !need_sandbox() || !need_program("git") {
        return;
    }
    let scratch = Scratch::new("guard-own");
    let project = scratch.project("p", "runtime: []\n");
    let state = project.join(".sbox/rootfs/home");
    std::fs::create_dir_all(&state).unwrap();
    let evil = "git init -q /state/evil && git -C /state/evil config core.fsmonitor 'touch /state/ran; false'; mkdir sub; LEAD";
    for (lead, left) in [
        ("echo 'gitdir: ../.sbox/rootfs/home/evil/.git' > sub/.git", "sub/.git"),
        ("ln -s ../.sbox/rootfs/home/evil/.git sub/.git", "sub/.git"),
        ("ln -s .sbox/rootfs/home/evil entered", "entered"),
        ("ln -s ../.sbox/rootfs/home/late sub/entered; sleep 0.2; mv /state/evil /state/late", "sub/entered"),
    ] {
        let options = ["--bind", text(&project), "/w", "--bind-nofollow", text(&state), "/state", "--chdir", "/w"];
        let output = confined(&scratch, &options, &format!("{TRUST}{}", evil.replace("LEAD", lead)));
        let place = project.join(left);
        assert!(std::fs::symlink_metadata(&place).is_err(), "{lead}: {}", stderr(&output));
        assert!(stderr(&output).contains("is not guarded"), "{lead}: {}", stderr(&output));
        std::fs::remove_dir_all(project.join("sub")).unwrap();
        for made in ["evil", "late"] {
            let _ = std::fs::remove_dir_all(state.join(made));
        }
    }
    // A link to a program of the environment is what every virtual environment has.
    std::fs::write(state.join("python"), "").unwrap();
    let link = "mkdir bin; ln -s ../.sbox/rootfs/home/python bin/python";
    confined(&scratch, &["--bind", text(&project), "/w", "--chdir", "/w"], link);
    assert!(std::fs::symlink_metadata(project.join("bin/python")).is_ok());
}

#[test]
fn a_common_directory_needs_no_head_to_be_a_repository() {
    let Some(tree) = Tree::new("guard-common") else { return };
    let parts = "mkdir -p a/objects a/refs a/hooks a/worktrees/w sub; echo 'ref: refs/heads/x' > a/worktrees/w/HEAD; \
        echo ../.. > a/worktrees/w/commondir; echo 'gitdir: ../a/worktrees/w' > sub/.git; sleep 0.2";
    let hook = format!("{parts}; echo 'MARK' > a/hooks/pre-commit; chmod +x a/hooks/pre-commit");
    tree.is_harmless("true", &hook, &format!("cd sub && {COMMIT}"));
    tree.is_harmless("rm -rf a sub", &format!("{parts}; {MONITOR} > a/config"), "cd sub && git status");
}

#[test]
fn a_program_that_is_reported_is_not_taken_for_one_that_is_covered() {
    let Some(tree) = Tree::new("guard-program") else { return };
    let prepare = "mkdir -p node_modules/.bin; printf '#!/bin/sh\\n' > node_modules/.bin/config";
    let plant = format!(
        "cd node_modules/.bin; mkdir objects refs; echo 'ref: refs/heads/x' > HEAD; ({MONITOR}; printf '\\tworktree = .\\n') > config"
    );
    tree.is_harmless(prepare, &plant, "cd node_modules/.bin && git status");
}

#[test]
fn a_link_in_the_way_to_what_is_protected_is_moved_away() {
    let Some(tree) = Tree::new("guard-way") else { return };
    let hook = "mkdir -p b/tools; echo 'MARK' > b/tools/pre-commit; chmod +x b/tools/pre-commit";
    let hooks = "mkdir -p a/tools; printf '#!/bin/sh\\n' > a/tools/pre-commit; chmod +x a/tools/pre-commit; git config core.hooksPath a/tools";
    tree.is_harmless(hooks, &format!("mv a old; {hook}; ln -s b a"), COMMIT);
    tree.is_harmless("rm -rf a b old; git config core.hooksPath a/tools", &format!("{hook}; ln -s b a"), COMMIT);
    // The setting names a link of the user's: what it leads to is protected by its real name.
    let through = "rm -rf a b; git config core.hooksPath a/tools; mkdir -p real/tools; printf '#!/bin/sh\\n' > real/tools/pre-commit; chmod +x real/tools/pre-commit; ln -s real a";
    tree.is_harmless(through, "echo 'MARK' >> real/tools/pre-commit", COMMIT);
    // A word of a command is a file of the tree, without a slash.
    let pager = "echo cat > pager.sh; git config core.pager 'sh pager.sh'";
    tree.is_harmless(
        pager,
        "echo 'MARK' > pager.sh",
        "git -c core.pager=\"$(git config core.pager)\" var GIT_PAGER | sh",
    );
    // A link of the first of two names.
    for (name, file) in [(".cargo", "config.toml"), (".config", "mise.toml"), (".yarn", "releases/yarn.js")] {
        let plant = format!("mkdir -p $(dirname c/{file}); echo 'MARK' > c/{file}; ln -s c {name}");
        tree.is_harmless("rm -rf c", &plant, &format!("sh {name}/{file}"));
    }
}

#[test]
fn what_is_written_without_an_event_is_found_a_moment_later() {
    let Some(tree) = Tree::new("guard-silent") else { return };
    // Through another name of the same file.
    let linked =
        format!("git init -q n; cp n/.git/config d; rm n/.git/config; ln d n/.git/config; sleep 0.4; {MONITOR} >> d");
    tree.is_harmless("true", &linked, "cd n && git status");
    tree.is_harmless("rm -rf n d", "mkdir d; : > d/x; ln d/x .envrc; sleep 0.4; echo 'MARK' > d/x", ". ./.envrc");
    // While it runs, too: a daemon's end may be days away.
    let mut shell = tree.running(&[]);
    shell.ask("rm -rf d; mkdir d; : > d/x; ln d/x .mcp.json; sleep 0.4; echo x > d/x");
    assert!(becomes(|| moved_away(&tree.at.join(".mcp.json"))));
    shell.end();
    // In memory that the file is mapped to.
    if !need_program("python3") {
        return;
    }
    let script = "import mmap\nf = open('n/.git/config', 'r+b')\nm = mmap.mmap(f.fileno(), 0)\ni = m.find(b'#PAD')\n\
        new = b'\\n[core]\\n\\tfsmonitor = \"MARK; false\"\\n#'\nm[i:i + len(new)] = new\nm.flush()\n";
    std::fs::write(tree.at.join("map.py"), tree.with_mark(script)).unwrap();
    let mapped = format!(
        "cp {}/map.py . 2>/dev/null; git init -q n; printf '#PAD%0400d\\n' 0 >> n/.git/config; sleep 0.4; python3 map.py",
        tree.at.display()
    );
    tree.is_harmless("rm -rf n", &mapped, "cd n && git status");
}

#[test]
fn a_name_in_another_case_is_the_same_name() {
    let Some(tree) = Tree::new("guard-case") else { return };
    for name in
        [".ENVRC", ".Envrc", ".en\u{200c}vrc", ".envrc.", ".VSCode/tasks.json", ".\u{212a}shrc", ".CARGO/Config.toml"]
    {
        tree.is_harmless("true", &format!("mkdir -p $(dirname {name}); echo 'MARK' > {name}"), &format!("sh {name}"));
    }
    tree.is_harmless(
        "true",
        "mkdir n; git init -q n/x; git -C n/x config core.fsmonitor 'MARK; false'; mv n/x/.git n/.GIT",
        "GIT_DIR=.GIT git -C n status",
    );
}

#[test]
fn the_guard_stays_in_its_mount_when_the_path_leads_elsewhere() {
    let Some(tree) = Tree::new("guard-root") else { return };
    std::fs::create_dir_all(tree.at.join("a/data")).unwrap();
    tree.scratch.write("elsewhere/data/x", "");
    let elsewhere = tree.scratch.path("elsewhere");
    let data = tree.at.join("a/data");
    // The agent leads the path of the second mount to a directory of the user's, where names that count are.
    let mut shell = tree.running(&["--bind", text(&data), "/data"]);
    shell.ask(&format!("mv a b; ln -s '{}' a", elsewhere.display()));
    std::fs::write(elsewhere.join("data/.envrc"), "mine").unwrap();
    shell.ask("echo x > /data/.mcp.json");
    assert!(becomes(|| moved_away(&tree.at.join("b/data/.mcp.json"))));
    shell.end();
    assert_eq!(std::fs::read_to_string(elsewhere.join("data/.envrc")).unwrap(), "mine");
}

#[test]
fn what_is_in_more_directories_than_are_watched_is_found_while_it_runs() {
    let Some(tree) = Tree::new("guard-many") else { return };
    let script = format!("echo 40 > /proc/sys/user/max_inotify_watches; exec {}/sbox-spawn \"$@\"", bin().display());
    let mut command = Command::new("unshare");
    command.args(["-r", "sh", "-c", &script, "sh"]);
    let mut shell = tree.running_by(command, &[]);
    shell.ask("for i in $(seq 60); do mkdir m$i; done; sleep 0.3; for i in $(seq 60); do echo x > m$i/.envrc; done");
    for number in 1..=60 {
        let plant = tree.at.join(format!("m{number}/.envrc"));
        assert!(becomes(|| moved_away(&plant)), "{}", plant.display());
    }
    assert!(shell.end().contains("no inotify watches left"));
}

#[test]
fn level_landlock_opens_no_source_through_a_link_of_the_agents_g5() {
    let Some(tree) = Tree::new("guard-landlock-source") else { return };
    std::fs::create_dir(tree.at.join("data")).unwrap();
    let secret = tree.scratch.path("secret");
    tree.scratch.write("secret/key", "canary");
    let data = tree.at.join("data");
    let options =
        ["--isolation", "landlock", "--bind", text(&tree.at), text(&tree.at), "--bind", text(&data), text(&data)];
    let own = confined(&tree.scratch, &options, "true");
    assert!(own.status.success(), "{}", stderr(&own));
    std::fs::remove_dir(&data).unwrap();
    std::os::unix::fs::symlink(&secret, &data).unwrap();
    let output = super::asked(&tree.scratch, &options, &format!("cat '{}/key'", secret.display()));
    assert_eq!(output.status.code(), Some(125), "{}", stdout(&output));
    assert!(!stdout(&output).contains("canary"));
}

#[test]
fn root_gets_no_weaker_level_by_itself() {
    if !need_sandbox() || !is_root() {
        return;
    }
    // In a root that is not its mount namespace's own nobody gets a user namespace.
    let scratch = Scratch::new("guard-root-level");
    let place = scratch.path("root");
    std::fs::create_dir_all(&place).unwrap();
    let run = |level: &str| {
        let script = format!(
            "mount --rbind / '{0}' && exec chroot '{0}' {1}/sbox-spawn --isolation {level} -- sh -c 'echo $SBOX_ISOLATION'",
            place.display(),
            bin().display()
        );
        Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap()
    };
    let output = run("auto");
    assert_eq!(output.status.code(), Some(125), "{}", stdout(&output));
    assert!(stderr(&output).contains("root gets no weaker level by itself"), "{}", stderr(&output));
    assert_eq!(stdout(&run("landlock")).trim(), "landlock");
}
