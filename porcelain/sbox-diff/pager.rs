//! Where the text goes: to a pager on a terminal, and as it is anywhere else.

use libsbox::cli;
use libsbox::error::{Error, Kind, Result};
use libsbox::output;
use std::io::{IsTerminal, Write};
use std::process::{Child, Command, Stdio};

/// Where a patch is written, piece by piece.
pub enum Output {
    /// A file or another program: the bytes as they are.
    Plain,
    /// A terminal.
    Terminal,
    /// A program that shows it on one.
    Pager(Child),
}

impl Output {
    /// Stdout, or a pager if that is a terminal. `for_reading` makes the agent's bytes harmless wherever they go.
    pub fn new(use_pager: bool, for_reading: bool) -> Output {
        match std::io::stdout().is_terminal() {
            true if use_pager => pager().map_or(Output::Terminal, Output::Pager),
            true => Output::Terminal,
            false if for_reading => Output::Terminal,
            false => Output::Plain,
        }
    }

    /// Writes a part. An error of kind `ClosedPipe` says that nobody wants the rest.
    pub fn write(&mut self, patch: &[u8]) -> Result<()> {
        let colour = output::colour(std::io::stdout().is_terminal());
        match self {
            Output::Plain => cli::out(patch),
            Output::Terminal => cli::out(harmless(patch, colour).as_bytes()),
            Output::Pager(pager) => {
                let text = harmless(patch, colour);
                let written = pager.stdin.as_mut().map(|pipe| pipe.write_all(text.as_bytes()));
                match written {
                    Some(Ok(())) => Ok(()),
                    _ => Err(Error::of(Kind::ClosedPipe, "")),
                }
            }
        }
    }

    /// Waits until the reader has seen enough.
    pub fn finish(self) {
        if let Output::Pager(mut pager) = self {
            drop(pager.stdin.take());
            let _ = pager.wait();
        }
    }
}

/// The user's pager, started, if there is one.
fn pager() -> Option<Child> {
    let wanted = ["SBOX_PAGER", "PAGER"].into_iter().find_map(|name| std::env::var(name).ok());
    let line = wanted.unwrap_or_else(|| "less".into());
    let program = line.split_whitespace().next().filter(|program| *program != "cat")?;
    let found = |dir: std::path::PathBuf| dir.is_absolute() && dir.join(program).is_file();
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !program.contains('/') && !std::env::split_paths(&path).any(found) {
        return None;
    }
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &line]).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", "FRX");
    }
    command.spawn().ok()
}

/// The patch as it can be sent to a terminal: each line by itself, without a control character in it.
fn harmless(patch: &[u8], colour: bool) -> String {
    let mut out = String::with_capacity(patch.len() + patch.len() / 8);
    let mut in_head = false;
    for line in String::from_utf8_lossy(patch).lines() {
        if line.starts_with("diff --git ") {
            in_head = true;
        } else if line.starts_with("@@ ") || line.starts_with("GIT binary patch") {
            in_head = false;
        }
        let sgr = match line.as_bytes().first() {
            _ if in_head => "1",
            Some(b'+') => "32",
            Some(b'-') => "31",
            Some(b'@') => "36",
            Some(b'#') => "33",
            _ => "",
        };
        let tabs: Vec<String> = line.split('\t').map(libsbox::escape::visible).collect();
        let line = tabs.join("\t");
        out += &output::paint(colour && !sgr.is_empty(), sgr, &line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_agents_reaches_the_terminal_as_it_is() {
        assert_eq!(harmless(b"+\x1b]0;x\x07\ta\n", false), "+\\x1b]0;x\\x07\ta\n");
    }
}
