use crate::common::Scratch;
use predicates::str::contains;

#[test]
fn it_needs_a_process_and_a_socket() {
    let scratch = Scratch::new("forward");
    scratch.program("sbox-forward").assert().code(2).stderr(contains("--into"));
    scratch.program("sbox-forward").args(["--into", "1"]).assert().code(2).stderr(contains("missing socket"));
    scratch.program("sbox-forward").args(["--into", "1", "80"]).assert().code(2).stderr(contains("no socket and port"));
    scratch.program("sbox-forward").args(["--into", "1", "63:80"]).assert().code(1).stderr(contains("take socket 63"));
}
