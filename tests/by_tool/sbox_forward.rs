use crate::common::Scratch;
use predicates::str::contains;

#[test]
fn it_needs_namespaces_and_a_socket() {
    let scratch = Scratch::new("forward");
    let wrong = |words: &[&str], why: &'static str| {
        scratch.program("sbox-forward").args(words).assert().failure().stderr(contains(why));
    };
    wrong(&[], "missing option");
    wrong(&["--user", "62", "--network", "63"], "missing socket");
    wrong(&["--user", "62", "--network", "63", "80"], "not a socket and port");
    wrong(&["--user", "62", "--network", "63", "64:80"], "take socket 64");
    wrong(&["--receive", "62", "x"], "not a port");
    wrong(&["--receive", "62", "80"], "descriptor 62");
    wrong(&["--receive", "62", "--user", "63", "80"], "cannot be used together");
}
