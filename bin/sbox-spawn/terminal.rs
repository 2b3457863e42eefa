//! The terminal of the caller.

/// The state of the terminal before the command, to be put back if the command dies with it turned raw.
pub struct Terminal(Option<rustix::termios::Termios>);

impl Terminal {
    pub fn remember() -> Terminal {
        Terminal(rustix::termios::tcgetattr(rustix::stdio::stdin()).ok())
    }

    pub fn restore(&self) {
        let Some(state) = &self.0 else { return };
        // Only in the foreground: from the background this would stop us (SIGTTOU).
        if rustix::termios::tcgetpgrp(rustix::stdio::stdin()).ok() == Some(rustix::process::getpgrp()) {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), rustix::termios::OptionalActions::Now, state);
        }
    }
}
