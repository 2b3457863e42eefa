//! Tests that this host cannot run: each says so, and the last line of a run says how many there were and why.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};

/// Counts what is written to it, and prints the sum when its stdin ends: with the last process that could write, which is
/// this one, however it ends. libtest leaves no other place to do something after the last test.
const TALLY: &str = r#"
lines=$(cat)
[ -n "$lines" ] || exit 0
count=$(printf '%s\n' "$lines" | cut -f1 | sort -u | wc -l)
reasons=$(printf '%s\n' "$lines" | sort -u | cut -f2 | sort | uniq -c | sort -rn)
printf '\nSKIPPED: %s of the tests, which prove nothing here:\n%s\n' "$count" "$reasons"
"#;

/// Says on the real stderr that the running test is skipped (`eprintln!` in a test that passes is never seen), and counts
/// it. Gives `false`, for whoever asks whether the test can run.
pub fn skip(why: &str) -> bool {
    static COUNTER: LazyLock<Mutex<Option<Child>>> = LazyLock::new(|| {
        let child = Command::new("sh").args(["-c", TALLY]).stdin(Stdio::piped()).stdout(std::io::stderr()).spawn();
        Mutex::new(child.ok())
    });
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
    if let Some(stdin) = COUNTER.lock().unwrap().as_mut().and_then(|child| child.stdin.as_mut()) {
        let _ = writeln!(stdin, "{test}\t{why}");
    }
    false
}

/// The same, where a variable in the environment says that it must not be: then the test fails.
pub fn skip_unless(forbidden_by: &str, why: &str) -> bool {
    assert!(std::env::var_os(forbidden_by).is_none(), "{forbidden_by} is set, but {why}");
    skip(why)
}
