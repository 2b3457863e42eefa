use crate::common::{Scratch, stderr, stdout};
use predicates::str::contains;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

fn relocate(scratch: &Scratch, options: &[&str]) -> std::process::Output {
    scratch
        .program("sbox-relocate")
        .args(options)
        .args(["--from", "/old/env", "--to", "/new/longer/env"])
        .arg(scratch.path("env"))
        .output()
        .unwrap()
}

#[test]
fn text_scripts_and_links_move_with_mode_and_time() {
    let scratch = Scratch::new("relocate");
    let pip = scratch.write("env/bin/pip", "#!/old/env/bin/python\nimport pip\n");
    std::fs::set_permissions(&pip, std::fs::Permissions::from_mode(0o555)).unwrap();
    scratch.write("env/lib/pkgconfig/x.pc", "prefix=/old/env\nlibdir=/old/env/lib\n");
    scratch.write("env/lib/other", "/old/env-other\n");
    symlink("/old/env/bin/pip", scratch.path("env/bin/pip3")).unwrap();
    let before = std::fs::metadata(&pip).unwrap();
    let output = relocate(&scratch, &[]);
    assert_eq!(stdout(&output), "bin/pip\nbin/pip3\nlib/pkgconfig/x.pc\n");
    assert_eq!(scratch.read("env/bin/pip"), "#!/new/longer/env/bin/python\nimport pip\n");
    assert_eq!(scratch.read("env/lib/other"), "/old/env-other\n");
    assert_eq!(std::fs::read_link(scratch.path("env/bin/pip3")).unwrap(), Path::new("/new/longer/env/bin/pip"));
    let after = std::fs::metadata(&pip).unwrap();
    assert_eq!((after.mode() & 0o777, after.mtime(), after.mtime_nsec()), (0o555, before.mtime(), before.mtime_nsec()));
}

#[test]
fn a_dry_run_changes_nothing() {
    let scratch = Scratch::new("relocate-dry");
    scratch.write("env/x", "/old/env\n");
    assert_eq!(stdout(&relocate(&scratch, &["--dry-run"])), "x\n");
    assert_eq!(scratch.read("env/x"), "/old/env\n");
}

#[test]
fn what_cannot_move_is_named_and_left_alone() {
    let scratch = Scratch::new("relocate-stuck");
    scratch.write("env/lib.so", "\x7fELF\0/old/env/lib\0");
    let output = relocate(&scratch, &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    for part in [
        "cannot relocate 'lib.so': the new path is 7 bytes too long",
        "[ERROR] sbox-relocate: nothing was changed",
        "a path of at most 8 bytes fits",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(scratch.read("env/lib.so"), "\x7fELF\0/old/env/lib\0");
}

#[test]
fn a_hard_link_elsewhere_keeps_its_content() {
    let scratch = Scratch::new("relocate-hard");
    let file = scratch.write("env/x", "/old/env\n");
    std::fs::hard_link(file, scratch.path("neighbour")).unwrap();
    relocate(&scratch, &[]);
    assert_eq!(scratch.read("neighbour"), "/old/env\n");
    assert_eq!(scratch.read("env/x"), "/new/longer/env\n");
}

#[test]
fn planted_links_and_pipes_are_not_followed() {
    let scratch = Scratch::new("relocate-planted");
    scratch.write("outside/rc", "/old/env\n");
    std::fs::create_dir(scratch.path("env")).unwrap();
    symlink(scratch.path("outside"), scratch.path("env/bin")).unwrap();
    symlink(scratch.path("outside/rc"), scratch.path("env/rc")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(scratch.path("env/fifo")).status().unwrap().success());
    assert!(relocate(&scratch, &[]).status.success());
    assert_eq!(scratch.read("outside/rc"), "/old/env\n");
    std::fs::remove_dir_all(scratch.path("env")).unwrap();
    symlink(scratch.path("outside"), scratch.path("env")).unwrap();
    assert_eq!(relocate(&scratch, &[]).status.code(), Some(1));
    assert_eq!(scratch.read("outside/rc"), "/old/env\n");
}

#[test]
fn a_list_cannot_lead_outside() {
    let scratch = Scratch::new("relocate-list");
    scratch.write("env/a", "/old/env\n");
    scratch.write("outside", "/old/env\n");
    scratch.write("list", "../outside\0a\0gone\0/etc/passwd\0");
    let list = scratch.path("list");
    assert_eq!(stdout(&relocate(&scratch, &["--only", list.to_str().unwrap()])), "a\n");
    assert_eq!(scratch.read("outside"), "/old/env\n");
}

#[test]
fn wild_prefixes_are_wrong_usage() {
    let scratch = Scratch::new("relocate-wild");
    std::fs::create_dir(scratch.path("env")).unwrap();
    for from in ["", "/", "..", "old"] {
        scratch.program("sbox-relocate").args(["--from", from, "--to", "/x", "env"]).assert().code(2);
    }
    scratch.program("sbox-relocate").args(["--to", "/x", "env"]).assert().code(2).stderr(contains("--from"));
}
