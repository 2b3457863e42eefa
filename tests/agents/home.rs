//! The agent's home, its name to git, its variables.

use crate::common::{Scratch, need_python, need_sandbox, stderr, stdout};
use libsbox::project::Project;
use predicates::str::contains;

/// A project with this configuration, built.
fn built(scratch: &Scratch, more: &str) -> bool {
    let Some(spec) = need_python() else { return false };
    scratch.project("p", &format!("runtime: {spec}\nprovider: host\nworkdir: /work\n{more}"));
    scratch.sbox("p").arg("build").assert().success();
    true
}

fn run(scratch: &Scratch, line: &str) -> String {
    let output = scratch.sbox("p").args(["run", line]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

#[test]
fn what_is_mounted_below_home_is_at_both_names_of_the_home() {
    let scratch = Scratch::new("agents-home");
    scratch.write("home/.claude/login", "one\n");
    scratch.write("home/.tool.conf", "two\n");
    scratch.write("data/file", "three\n");
    scratch.write("p/file", "");
    let data = scratch.path("data");
    let mounts =
        format!("mount:\n  - .:/work:cow\n  - ~/.claude\n  - ~/.tool.conf\n  - {}:/home/data\n", data.display());
    if !built(&scratch, &mounts) {
        return;
    }
    let own = scratch.home();
    let own = own.display();
    let line =
        format!("cat ~/.claude/login /home/.claude/login {own}/.claude/login ~/.tool.conf ~/data/file /home/data/file");
    assert_eq!(run(&scratch, &line), "one\none\none\ntwo\nthree\nthree\n");
    assert_eq!(run(&scratch, "ls -A ~"), ".claude\n.tool.conf\ndata\n");
    // The same tree, not a second one: what is written by one name is read by the other, here and on the host.
    assert_eq!(run(&scratch, "echo new > ~/data/new; cat /home/data/new"), "new\n");
    assert_eq!(scratch.read("data/new"), "new\n");
    assert_eq!(
        run(&scratch, "echo 1 > /home/by-short-name 2>/dev/null || echo 1 > ~/by-short-name; ls ~"),
        "by-short-name\ndata\n"
    );
}

#[test]
fn nothing_of_the_way_to_a_project_below_home_is_in_the_agents_home() {
    let scratch = Scratch::new("agents-way");
    if !scratch.root.starts_with("/home") {
        crate::common::skip::skip("the tests are not below /home");
        return;
    }
    // What version 0.1.0 left there goes.
    let way = scratch.path("p/.sbox/env");
    let old = scratch.path("p/.sbox/rootfs/home").join(way.strip_prefix("/home").unwrap());
    std::fs::create_dir_all(&old).unwrap();
    scratch.write("p/file", "x");
    if !built(&scratch, &format!("mount:\n  - .:{}:cow\n", scratch.path("p").display())) {
        return;
    }
    assert_eq!(run(&scratch, "ls -A ~"), "");
    assert_eq!(run(&scratch, &format!("cat {}", scratch.path("p/file").display())), "x");
    assert_eq!(std::fs::read_dir(scratch.path("p/.sbox/rootfs/home")).unwrap().count(), 0);
}

#[test]
fn a_mount_below_home_is_a_link_at_level_landlock() {
    let scratch = Scratch::new("agents-landlock");
    scratch.write("home/.claude/login", "one\n");
    if crate::common::is_root() || !built(&scratch, "mount:\n  - ~/.claude\n") {
        return;
    }
    let output = scratch
        .sbox("p")
        .args(["exec", "--isolation", "landlock", "sh", "-c", "cat ~/.claude/login"])
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "one\n", "{}", stderr(&output));
}

fn repository(scratch: &Scratch) {
    scratch.write("p/file", "");
    scratch.write(
        "home/.gitconfig",
        "[user]\n\tname = Ada L\n\temail = ada@example.org\n\tsigningkey = K\n[alias]\n\tx = !y\n",
    );
    let git = std::process::Command::new("git")
        .args(["init", "-q"])
        .arg(scratch.path("p"))
        .env("HOME", scratch.home())
        .status();
    assert!(git.unwrap().success());
}

const COMMIT: &str = "git commit -q --allow-empty -m x && git log -1 --format=%an,%ae";

#[test]
fn commits_have_the_users_name_and_address_and_nothing_else_of_the_configuration() {
    let scratch = Scratch::new("agents-git");
    repository(&scratch);
    if !built(&scratch, "mount:\n  - .:/work:cow\n") {
        return;
    }
    assert_eq!(run(&scratch, COMMIT), "Ada L,ada@example.org\n");
    assert_eq!(
        run(&scratch, "git config --get-regexp '^(alias|user)'"),
        "user.name Ada L\nuser.email ada@example.org\n"
    );
    assert_eq!(run(&scratch, "git config --global user.name Bob; git config user.name"), "Bob\n");
    // The repository's own is what git on the host would take.
    let config = scratch.read("p/.git/config") + "[user]\n\temail = work@example.org\n";
    scratch.write("p/.git/config", &config);
    assert_eq!(run(&scratch, "git config --system user.email"), "work@example.org\n");
}

#[test]
fn the_users_name_is_given_to_nobody_who_was_not_meant() {
    let scratch = Scratch::new("agents-git-off");
    repository(&scratch);
    if !built(&scratch, "git_identity: false\nmount:\n  - .:/work:cow\n") {
        return;
    }
    let ask = ["exec", "sh", "-c", "git config --system user.name || echo none"];
    scratch.sbox("p").args(ask).assert().success().stdout("none\n");
    // The configuration of a stranger has it if it asks, and is accepted.
    let store = scratch.home().join(".sbox/trust");
    for (line, wanted) in [("", "none\n"), ("git_identity: true\n", "Ada L\n")] {
        let config = scratch.read("p/.sbox/config.yaml").replace("git_identity: false\n", line);
        scratch.write("p/.sbox/config.yaml", &config);
        let project = Project::at(&scratch.path("p")).unwrap();
        let _ = std::fs::remove_file(store.join(libsbox::trust::own_mark(&project).unwrap()));
        if !line.is_empty() {
            let config = config.replacen("runtime", "git_identity: true\nruntime", 1);
            scratch.write("p/.sbox/config.yaml", &config);
            scratch.sbox("p").args(ask).assert().code(125).stderr(contains("your name and e-mail address"));
            scratch.sbox("p").args(["trust"]).assert().success();
        }
        scratch.sbox("p").args(ask).assert().success().stdout(wanted);
    }
}

#[test]
fn variables_come_from_files_and_unset_ones_stay_away() {
    let scratch = Scratch::new("agents-env");
    scratch.write("p/.env", "# keys\nexport A=1\nB=\"two words\" # x\nC='$HOME'\n");
    scratch.write("p/more.env", "A=later\n");
    let config =
        "env_file: [.env, more.env]\nenv:\n  B: mine\n  N: \"${NOT_SET_ANYWHERE}\"\n  M: \"a${NOT_SET_ANYWHERE}\"\n";
    if !built(&scratch, config) {
        return;
    }
    assert_eq!(run(&scratch, "echo \"$A|$B|$C|${N-absent}|$M\""), "later|mine|$HOME|absent|a\n");
    scratch.write("p/.env", "A=1\nnot one\n");
    scratch.sbox("p").args(["run", "true"]).assert().code(125).stderr(contains("line 2: 'not one' is not NAME=VALUE"));
    std::fs::remove_file(scratch.path("p/.env")).unwrap();
    scratch.sbox("p").args(["run", "true"]).assert().code(125).stderr(contains("File does not exist"));
    // A link to a file of the user's is what it leads to.
    scratch.write("home/secret", "KEY=1\n");
    std::os::unix::fs::symlink(scratch.home().join("secret"), scratch.path("p/.env")).unwrap();
    let project = Project::at(&scratch.path("p")).unwrap();
    std::fs::remove_file(scratch.home().join(".sbox/trust").join(libsbox::trust::own_mark(&project).unwrap())).unwrap();
    scratch.sbox("p").args(["run", "true"]).assert().code(125).stderr(contains("the variables in"));
}

#[test]
fn a_file_of_variables_is_not_followed_through_a_link_that_the_agent_can_make() {
    let scratch = Scratch::new("agents-env-link");
    scratch.write("home/secret", "KEY=stolen\n");
    scratch.write("p/w/.env", "KEY=own\n");
    if !built(&scratch, "mount:\n  - ./w:/work\nenv_file: w/.env\n") {
        return;
    }
    assert_eq!(run(&scratch, &format!("echo $KEY; rm .env; ln -s {}/secret .env", scratch.home().display())), "own\n");
    scratch
        .sbox("p")
        .args(["run", "echo $KEY"])
        .assert()
        .code(125)
        .stdout("")
        .stderr(contains("leads through the link"));
}

#[test]
fn a_login_outlives_a_build_from_scratch() {
    let scratch = Scratch::new("agents-login");
    scratch.write("p/file", "");
    if !need_sandbox() || !built(&scratch, "mount:\n  - .:/work:cow\n") {
        return;
    }
    run(&scratch, "mkdir -p ~/.claude; echo token > ~/.claude/.credentials.json; echo changed > file");
    scratch.sbox("p").args(["build", "--force"]).assert().success();
    assert_eq!(run(&scratch, "cat ~/.claude/.credentials.json file"), "token\nchanged\n");
    assert_eq!(scratch.read("p/file"), "");
}
