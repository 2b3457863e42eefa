use crate::common::{Scratch, need_python, need_registries, stderr, stdout};

fn demo(runtime: &str) {
    let scratch = Scratch::new("demo");
    scratch.write("home/.ssh/id_rsa", "canary");
    let temporary = scratch.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let output = scratch.sbox("").env("TMPDIR", &temporary).args(["demo", "--runtime", runtime]).output().unwrap();
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("✓ list your SSH keys") && !text.contains('✗'), "{text}");
    assert!(text.contains("forbidden things was reached"));
    assert_eq!(std::fs::read_dir(temporary).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_curious_python_agent_reaches_nothing() {
    if let Some(spec) = need_python() {
        demo(spec);
    }
}

#[test]
fn a_curious_node_agent_reaches_nothing() {
    if need_registries() {
        demo("node:22");
    }
}
