//! What people without Rust get: the install script with a stand-in release, and a packed sandbox on another machine. The
//! real release is made by `.ci/release` and tried by `.ci/try-release`.

use crate::common::skip::skip;
use crate::common::{Scratch, bin, is_root, need_python, need_registries, package, stderr, stdout};
use std::path::Path;
use std::process::{Command, Output};

/// Every file and directory below a place.
fn everything(place: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(place).min_depth(1).sort_by_file_name().into_iter();
    entries.map(|entry| entry.unwrap().path().display().to_string()).collect()
}

fn sh(scratch: &Scratch, script: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(&scratch.root).env_clear();
    command.env("HOME", scratch.home()).env("PATH", "/usr/local/bin:/usr/bin:/bin").output().unwrap()
}

/// An unpacked release, with two of the programs in it.
fn release(scratch: &Scratch) -> bool {
    let script = package().join(".ci/install");
    if !script.is_file() {
        return skip("the package has no .ci/install here");
    }
    let version = env!("CARGO_PKG_VERSION");
    let at = |below: &str| scratch.path(&format!("sbox-{version}-linux/{below}"));
    for directory in ["bin", "share/man/man1", "share/sbox/apparmor"] {
        std::fs::create_dir_all(at(directory)).unwrap();
    }
    for program in ["sbox", "sbox-version"] {
        std::fs::copy(bin().join(program), at(&format!("bin/{program}"))).unwrap();
    }
    std::fs::copy(package().join("man/sbox.1"), at("share/man/man1/sbox.1")).unwrap();
    std::fs::write(at("share/sbox/apparmor/sbox-spawn"), "profile sbox-spawn \"/usr/bin/sbox-spawn\" {}\n").unwrap();
    std::fs::copy(script, at("install")).unwrap();
    let sums =
        "cd sbox-*-linux && find . -type f ! -name SHA256SUMS -exec sha256sum {} + > ../sums && mv ../sums SHA256SUMS";
    assert!(sh(scratch, sums).status.success());
    true
}

#[test]
fn a_release_is_installed_and_removed_without_a_trace() {
    let scratch = Scratch::new("release");
    if !release(&scratch) {
        return;
    }
    // Somebody else's files stay, and so do directories that were there.
    scratch.write("home/.local/bin/mine", "");
    let before = everything(&scratch.home());
    let output = sh(&scratch, "./sbox-*-linux/install \"$HOME/.local\"");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("is not on your PATH"));
    let output = sh(&scratch, "PATH=\"$HOME/.local/bin:$PATH\" sbox version");
    assert!(stdout(&output).contains(env!("CARGO_PKG_VERSION")), "{}", stderr(&output));
    let profile = scratch.read("home/.local/share/sbox/apparmor/sbox-spawn");
    assert!(profile.contains(&format!("\"{}/.local/bin/sbox-spawn\"", scratch.home().display())), "{profile}");
    // Once more is an update; the release itself is not needed to remove it.
    assert!(sh(&scratch, "./sbox-*-linux/install \"$HOME/.local\" && rm -rf sbox-*-linux").status.success());
    scratch.write("home/.sbox/cache/x", "");
    scratch.write("home/.config/sbox/templates/x.yaml", "");
    let output = sh(&scratch, "~/.local/share/sbox/install --uninstall");
    assert!(output.status.success() && stdout(&output).contains("cached runtimes"), "{}", stderr(&output));
    assert!(scratch.path("home/.sbox/cache/x").is_file());
    let again = Scratch::new("release-purge");
    assert!(release(&again));
    assert!(sh(&again, "./sbox-*-linux/install ~/.local").status.success());
    again.write("home/.sbox/cache/x", "");
    assert!(sh(&again, "~/.local/share/sbox/install --uninstall --purge").status.success());
    assert_eq!(everything(&again.home()), Vec::<String>::new());
    std::fs::remove_dir_all(scratch.path("home/.sbox")).unwrap();
    std::fs::remove_dir_all(scratch.path("home/.config")).unwrap();
    assert_eq!(everything(&scratch.home()), before);
}

#[test]
fn a_release_that_was_changed_is_not_installed() {
    let scratch = Scratch::new("release-changed");
    if !release(&scratch) {
        return;
    }
    let output = sh(
        &scratch,
        "for file in sbox-*-linux/bin/sbox-version; do echo x >> $file; done; ./sbox-*-linux/install ~/.local",
    );
    assert!(!output.status.success() && stderr(&output).contains("not as they were packed"), "{}", stderr(&output));
    assert!(everything(&scratch.home()).is_empty());
}

/// Unpacks and runs what was packed, with three commands, in another directory; as another user, where root runs this.
fn elsewhere(scratch: &Scratch, archive: &str, last: &str) -> Output {
    let name = archive.trim_end_matches("-sbox.tar.gz");
    let lines = format!("tar -xzf {archive} && cd {name}\nsbox unpack\n{last}\n");
    std::fs::create_dir_all(scratch.path("there/home")).unwrap();
    std::fs::copy(scratch.path(&format!("{name}/{archive}")), scratch.path(&format!("there/{archive}"))).unwrap();
    let mut command = Command::new("sh");
    if is_root() {
        let own = Command::new("chown").args(["-R", "65533:65533"]).arg(scratch.path("there")).status().unwrap();
        assert!(own.success());
        command = Command::new("setpriv");
        command.args(["--reuid=65533", "--regid=65533", "--clear-groups", "sh"]);
    }
    command.args(["-ec", &lines]).current_dir(scratch.path("there")).env_clear();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin().display());
    command.env("HOME", scratch.path("there/home")).env("PATH", path).output().unwrap()
}

/// Whether another user can come to our programs and to this test's directory.
fn others_can_reach(scratch: &Scratch) -> bool {
    let open = |path: &Path| {
        let mode = |place: &Path| std::os::unix::fs::PermissionsExt::mode(&place.metadata().unwrap().permissions());
        path.ancestors().all(|place| mode(place) & 0o005 == 0o005)
    };
    !is_root() || open(&scratch.root) && open(&bin()) || skip("another user cannot reach the directory of this test")
}

#[test]
fn a_packed_sandbox_is_started_elsewhere_with_three_commands() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("three-commands");
    if !others_can_reach(&scratch) {
        return;
    }
    scratch.write("myapp/app/main.py", "import sys; print('hello from', sys.prefix)\n");
    scratch.project("myapp", &format!("runtime: {spec}\ncopy:\n  - ./app:/app\nworkdir: /app\ncmd: python main.py\n"));
    scratch.sbox("myapp").arg("build").assert().success();
    scratch.sbox("myapp").arg("pack").assert().success();
    let output = elsewhere(&scratch, "myapp-sbox.tar.gz", "sbox run");
    let expected = format!("hello from {}", scratch.path("there/myapp/.sbox/env").display());
    assert!(stdout(&output).contains(&expected), "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn openclaw_is_packed_and_started_elsewhere_online() {
    if !need_registries() {
        return;
    }
    let scratch = Scratch::new("openclaw-packed");
    if !others_can_reach(&scratch) {
        return;
    }
    let mut init = scratch.sbox_online("");
    init.args(["init", "claw", "-t", "openclaw"]).assert().success();
    scratch.sbox_online("claw").arg("build").assert().success();
    scratch.sbox("claw").arg("pack").assert().success();
    let output = elsewhere(&scratch, "claw-sbox.tar.gz", "sbox trust && sbox run openclaw --version");
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(
        stdout(&output).to_lowercase().contains("openclaw") || stdout(&output).contains("20"),
        "{}",
        stdout(&output)
    );
}
