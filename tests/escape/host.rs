//! Hosts that give less: what is lost has a name, in every place that says it, and is never silent.

use super::{confined, text};
use crate::common::{Scratch, bin, is_root, need_program, need_sandbox, package, stderr, stdout};
use libsbox::promises::{EXCEPTIONS, When};
use std::process::{Command, Output};

/// Runs a program where the system calls from `first` to `last` fail, as they do on another kernel.
fn without(first: u32, last: u32, errno: i32, scratch: &Scratch, words: &[&str]) -> Output {
    // prctl (157): no_new_privs (38), then seccomp (22, mode 2) with a filter of struct sock_filter. x86-64's numbers.
    let filter = format!(
        "$f = join '', map {{ pack 'SCCL', @$_ }} [0x20,0,0,0], [0x35,0,2,{first}], [0x25,1,0,{last}], [0x06,0,0,{}], [0x06,0,0,0x7fff0000];
         syscall(157, 38, 1, 0, 0, 0) == 0 or die 'no_new_privs'; $p = pack 'Sx6P', 5, $f; syscall(157, 22, 2, $p, 0, 0) == 0 or die \"seccomp $!\";
         exec @ARGV; die 'exec'",
        0x0005_0000 + errno
    );
    let mut command = Command::new("perl");
    command.args(["-e", &filter]).args(words).current_dir(&scratch.root).env("HOME", scratch.home());
    command.env("SBOX_CACHE", scratch.path("cache")).env("TMPDIR", "/tmp").output().unwrap()
}

fn can_try() -> bool {
    need_sandbox() && need_program("perl") && cfg!(target_arch = "x86_64")
}

const ENOSYS: i32 = 38;
const EINVAL: i32 = 22;

#[test]
fn the_manual_and_the_security_page_name_what_depends_on_the_host() {
    for page in ["man/sbox-isolation.7", "SECURITY.md"] {
        let text = std::fs::read_to_string(package().join(page)).unwrap();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for line in EXCEPTIONS.iter().filter(|line| line.when != When::Always) {
            assert!(text.contains(line.lost), "{page} does not say: {}", line.lost);
            assert!(text.contains(&line.when.to_string()), "{page} does not say: {}", line.when);
        }
    }
}

#[test]
fn every_exception_is_shown_by_an_attempt_that_exists() {
    let output = Command::new(bin().join("sbox-attempt")).arg("--list").output().unwrap();
    let all = stdout(&output);
    for line in EXCEPTIONS {
        for name in line.attempts {
            assert!(all.contains(&format!("\"name\":\"{name}\"")), "{name}");
        }
    }
}

#[test]
fn a_kernel_without_landlock_says_the_same_everywhere_k1() {
    if !can_try() {
        return;
    }
    let scratch = Scratch::new("host-landlock");
    let lost = "with the host's network its abstract sockets (X11, D-Bus) can be reached";
    let landlock = |words: &[&str]| without(444, 446, ENOSYS, &scratch, words);
    let doctor = text(&bin().join("sbox-doctor")).to_owned();
    let said = stdout(&landlock(&[&doctor]));
    assert!(said.contains(&format!("none: {lost}")), "{said}");
    // What is lost there is not a promise that is broken, and everything else holds.
    let output = landlock(&[&doctor, "--self-test", "--json"]);
    let said: serde_json::Value =
        serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    let all = said["attempts"].as_array().unwrap();
    let socket = all.iter().find(|attempt| attempt["name"] == "abstract-socket").unwrap();
    assert_eq!((&socket["outcome"], &socket["promised"]), (&"reached".into(), &false.into()));
    assert_eq!(said["held"], true, "{said}");
    // The level that is nothing but Landlock is an error there.
    let spawn = text(&bin().join("sbox-spawn")).to_owned();
    assert_eq!(landlock(&[&spawn, "--isolation", "landlock", "--", "true"]).status.code(), Some(125));
}

#[test]
fn where_the_root_cannot_be_exchanged_that_is_the_reason_k4() {
    if !can_try() {
        return;
    }
    let scratch = Scratch::new("host-pivot");
    let pivot = |words: &[&str]| without(155, 155, EINVAL, &scratch, words);
    let spawn = text(&bin().join("sbox-spawn")).to_owned();
    let output = pivot(&[&spawn, "--isolation", "namespace", "--", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("refuses pivot_root") && stderr(&output).contains("initramfs"),
        "{}",
        stderr(&output)
    );
    let doctor = stdout(&pivot(&[text(&bin().join("sbox-doctor"))]));
    assert!(doctor.contains("refuses pivot_root") && !doctor.contains("CONFIG_SECCOMP_FILTER"), "{doctor}");
    let output = pivot(&[&spawn, "--", "sh", "-c", "echo $SBOX_ISOLATION"]);
    if is_root() {
        assert_eq!(output.status.code(), Some(125));
    } else {
        assert_eq!(stdout(&output).trim(), "landlock", "{}", stderr(&output));
        assert!(stderr(&output).contains("refuses pivot_root"), "{}", stderr(&output));
    }
    // The control: nothing but that call is in the way.
    assert!(confined(&scratch, &[], "true").status.success());
}
