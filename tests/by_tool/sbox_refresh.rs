use crate::common::{Ends, Scratch, becomes, bin, stderr};
use std::process::{Command, Stdio};

#[test]
fn every_sandbox_of_the_project_with_a_copy_on_write_mount_is_refreshed() {
    let Some(scratch) = Scratch::sandbox("refresh") else { return };
    scratch.project("p", "runtime: python:3.12\n");
    let none = scratch.sbox("p").arg("refresh").output().unwrap();
    assert!(none.status.success() && stderr(&none).contains("no running sandbox"), "{}", stderr(&none));

    for name in ["upper", "work"] {
        std::fs::create_dir_all(scratch.path("p/.sbox/cow/work").join(name)).unwrap();
    }
    let mut command = Command::new(bin().join("sbox-spawn"));
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(scratch.path("p"));
    command.args(["--cow", ".", "/work", ".sbox/cow/work", "--", "sleep", "1000"]).stdin(Stdio::null());
    let _sandbox = Ends(command.spawn().unwrap());
    let mounted = scratch.path("p/.sbox/cow/work/mount.json");
    assert!(becomes(|| std::fs::read(&mounted).is_ok_and(|text| text.ends_with(b"\n"))));
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(&mounted).unwrap()).unwrap();
    let refreshed = scratch.sbox("p").arg("refresh").env("SBOX_TRACE", "1").output().unwrap();
    assert!(refreshed.status.success(), "{}", stderr(&refreshed));
    assert!(stderr(&refreshed).contains(&format!("sbox-spawn --join {} --refresh", record["pid"])));
}

#[test]
fn a_link_in_place_of_a_layer_leads_to_no_process() {
    let scratch = Scratch::new("refresh-link");
    scratch.project("p", "runtime: python:3.12\n");
    scratch.write("elsewhere/mount.json", &format!("{{\"pid\":{},\"start\":1,\"boot\":\"x\"}}\n", std::process::id()));
    std::fs::create_dir(scratch.path("p/.sbox/cow")).unwrap();
    std::os::unix::fs::symlink(scratch.path("elsewhere"), scratch.path("p/.sbox/cow/work")).unwrap();
    let output = scratch.sbox("p").arg("refresh").output().unwrap();
    assert!(output.status.success() && stderr(&output).contains("no running sandbox"), "{}", stderr(&output));
}
