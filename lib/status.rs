//! How a process ended, as the one number that a shell has for it: its own exit code, or 128 and the signal's number.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// Of a child that was waited for. A status that is neither an exit nor a death (which wait does not give unless it is
/// asked for) is a failure.
pub fn of(status: ExitStatus) -> u8 {
    number(status.code(), status.signal())
}

/// The same for waitpid(2) by way of rustix.
pub fn of_wait(status: rustix::process::WaitStatus) -> u8 {
    number(status.exit_status(), status.terminating_signal())
}

/// In words, to follow a name: `ended with exit code 3`, `was killed by signal 9`.
pub fn told(status: rustix::process::WaitStatus) -> String {
    words(of_wait(status), status.terminating_signal())
}

/// The same of a child that was waited for by std.
pub fn told_of(status: ExitStatus) -> String {
    words(of(status), status.signal())
}

fn words(code: u8, signal: Option<i32>) -> String {
    match signal {
        Some(signal) => format!("was killed by signal {signal}"),
        None => format!("ended with exit code {code}"),
    }
}

fn number(code: Option<i32>, signal: Option<i32>) -> u8 {
    let code = code.or_else(|| signal.map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_keeps_its_code_and_a_death_has_128_more_than_its_signal() {
        // wait(2): the code is in the second byte, a signal in the first.
        let code = |raw| of(ExitStatus::from_raw(raw));
        assert_eq!([code(0), code(3 << 8), code(255 << 8), code(9)], [0, 3, 255, 137]);
    }
}
