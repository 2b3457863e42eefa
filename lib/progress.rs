//! A sign of life for anything that takes more than a second: a spinner on a terminal, a plain line elsewhere.

use crate::output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// A step that is under way. Dropping it clears the spinner.
#[derive(Debug)]
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Announces a step that takes its time.
    pub fn start(message: &str) -> Progress {
        if !std::io::stderr().is_terminal() {
            output::info(message);
        }
        Progress::spin(message)
    }

    /// Shows life on a terminal, and nothing elsewhere: for a step that is mostly over at once.
    pub fn spin(message: &str) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress(None);
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_message(message.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Progress(Some(bar))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
