//! Whole ways through the toolkit, as the README describes them.

use crate::common::{Scratch, need_python, need_registries, stderr, stdout};
use predicates::str::contains;

#[test]
fn the_python_quick_start() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("quick");
    scratch.sbox("").args(["init", "myapp", "--runtime", spec]).assert().success().stdout("");
    scratch.sbox("myapp").arg("build").assert().success().stdout("");
    let output = scratch.sbox("myapp").arg("run").output().unwrap();
    let text = stdout(&output);
    assert!(text.starts_with("Hello from Python") && stderr(&output).is_empty(), "{text}{}", stderr(&output));
    assert!(text.contains("'app'") && text.contains("'home'"), "{text}");
    for part in [
        ".sbox/env/bin/python",
        ".sbox/rootfs/app/main.py",
        ".sbox/rootfs/home",
        ".sbox/rootfs/tmp",
        ".sbox/env.sh",
        "sbox.lock",
    ] {
        assert!(scratch.path("myapp").join(part).exists(), "{part}");
    }
}

#[test]
fn a_second_project_lives_on_when_the_first_is_deleted() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("second");
    for name in ["first", "second"] {
        scratch.project(name, &format!("runtime: {spec}\n"));
        scratch.sbox(name).arg("build").assert().success();
    }
    std::fs::remove_dir_all(scratch.path("first")).unwrap();
    let own = scratch.path("second/.sbox/env");
    scratch
        .sbox("second")
        .args(["exec", "pip", "--version"])
        .assert()
        .success()
        .stdout(contains(own.to_str().unwrap()));
    let found = std::process::Command::new("grep").arg("-rlI").arg(scratch.path("first")).arg(&own).output().unwrap();
    assert_eq!(stdout(&found), "", "files that name the first project");
}

#[test]
fn a_project_at_an_awkward_path_works() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("awkward");
    let name = "it's a project; with & größe (x)";
    scratch.sbox("").args(["init", name, "-r", spec]).assert().success();
    scratch.sbox(name).arg("build").assert().success();
    scratch.sbox(name).arg("run").assert().success().stdout(contains("Hello from Python"));
    scratch.sbox(name).args(["exec", "pip", "--version"]).assert().success().stdout(contains("pip"));
}

#[test]
fn the_script_activates_the_runtime_on_the_host() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("activate");
    let root = scratch.project("p", &format!("runtime: {spec}\n"));
    scratch.sbox("p").arg("build").assert().success();
    let output = std::process::Command::new("sh")
        .args(["-c", ". .sbox/env.sh; python -c 'import sys; print(sys.prefix)'; echo $HOME"])
        .current_dir(&root)
        .output()
        .unwrap();
    assert_eq!(stdout(&output), format!("{0}/.sbox/env\n{0}/.sbox/rootfs/home\n", root.display()));
}

#[test]
fn a_mount_or_a_copy_that_is_removed_goes_and_no_host_data_does() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("removed");
    scratch.write("data/app/precious", "x");
    scratch.write("p/app/main.py", "x");
    let mount = format!("mount:\n  - {}:/data\n", scratch.path("data").display());
    let base = format!("runtime: {spec}\ncopy: ['./app:/srv/app']\n");
    for more in [mount.as_str(), mount.as_str(), ""] {
        scratch.project("p", &format!("{base}{more}"));
        scratch.sbox("p").arg("build").assert().success();
    }
    assert!(scratch.path("data/app/precious").exists());
    assert!(!scratch.path("p/.sbox/rootfs/data").exists());
    scratch.project("p", &format!("runtime: {spec}\n"));
    scratch.sbox("p").arg("build").assert().success();
    assert!(!scratch.path("p/.sbox/rootfs/srv").exists() && scratch.path("p/app/main.py").exists());
}

#[test]
fn packages_install_into_the_sandbox_and_nowhere_else() {
    if !need_registries() {
        return;
    }
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("pip");
    scratch.project("p", &format!("runtime: {spec}\ninstall: [pip install tomli==2.0.1]\n"));
    let output = scratch.sbox_online("p").arg("build").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let env = scratch.path("p/.sbox/env");
    scratch
        .sbox_online("p")
        .args(["exec", "python", "-c", "import tomli; print(tomli.__file__)"])
        .assert()
        .success()
        .stdout(contains(env.to_str().unwrap()));
    nothing_but_sbox_in_the_home(&scratch);
}

#[test]
fn the_node_quick_start_with_global_packages_and_npx() {
    if !need_registries() {
        return;
    }
    let scratch = Scratch::new("node");
    scratch.sbox_online("").args(["init", "myapp", "--runtime", "node:22"]).assert().success();
    let output = scratch.sbox_online("myapp").arg("build").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    scratch.sbox_online("myapp").arg("run").assert().success().stdout(contains("Hello from Node.js v22."));
    scratch.sbox_online("myapp").args(["exec", "npm", "install", "-g", "semver@7.6.0"]).assert().success();
    assert!(scratch.path("myapp/.sbox/env/lib/node_modules/semver").is_dir());
    scratch.sbox_online("myapp").args(["exec", "semver", "1.2.3"]).assert().success().stdout("1.2.3\n");
    scratch.sbox_online("myapp").args(["exec", "npx", "--yes", "is-ci@3.0.1"]).assert().code(1);
    assert!(scratch.path("myapp/.sbox/rootfs/home/.npm").is_dir());
    nothing_but_sbox_in_the_home(&scratch);
}

/// The cache of these tests is elsewhere: what is left is the memory of which projects were made here.
fn nothing_but_sbox_in_the_home(scratch: &Scratch) {
    let names = |place: &std::path::Path| -> Vec<_> {
        std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(
        (names(&scratch.home()), names(&scratch.path("home/.sbox"))),
        (vec![".sbox".into()], vec!["trust".into()])
    );
}
