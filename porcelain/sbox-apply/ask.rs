//! One key for each change, with the change shown.

use crate::write::Shown;
use libsbox::cow::{Change, Layer, Verdict, What};
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::output;
use libsbox::plumbing::porcelain;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use std::ffi::OsStr;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;

type Plans<'a> = Vec<(&'a Layer, Vec<Change>)>;

/// Questions are asked where somebody can answer.
pub fn require_a_terminal() -> Result<()> {
    match std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        true => Ok(()),
        false => Err(Error::usage("'-i' needs a terminal").hint("name what to apply: sbox apply PATH...")),
    }
}

/// Asks about each change; what is left of the plans is what was chosen.
pub fn choose(plans: Plans<'_>) -> Result<(Plans<'_>, Shown)> {
    let (mut all, mut stop, mut shown) = (false, false, Shown::new());
    let mut chosen = Vec::new();
    for (layer, plan) in plans {
        let mut keep: Vec<Change> = Vec::new();
        for change in plan {
            let held = matches!(change.verdict, Verdict::Held(_));
            if stop {
                break;
            }
            // What programs act on is asked for each time.
            let take = (all && !held)
                || match question(layer, &change, &mut shown)? {
                    Answer::Yes => true,
                    Answer::No => false,
                    Answer::All => {
                        all = true;
                        true
                    }
                    Answer::Quit => {
                        stop = true;
                        false
                    }
                };
            if take {
                keep.push(change);
            }
        }
        // A directory without which what was chosen has no place comes along; one whose deletion waits for another's does not.
        chosen.push((layer, keep));
    }
    Ok((chosen, shown))
}

enum Answer {
    Yes,
    No,
    All,
    Quit,
}

fn question(layer: &Layer, change: &Change, shown: &mut Shown) -> Result<Answer> {
    show(layer, change, shown)?;
    if let Verdict::Held(held) = &change.verdict {
        output::warn(format_args!("programs on this host act on it: {}", held.reason));
    }
    loop {
        let prompt = format!("apply '{}'? [y,n,a,q,?] ", visible_path(&change.path));
        let key = key(&prompt)?;
        output::line(if key.is_ascii_graphic() { char::from(key) } else { ' ' });
        match key {
            b'y' => return Ok(Answer::Yes),
            b'n' => return Ok(Answer::No),
            b'a' => return Ok(Answer::All),
            // Also at the end of the terminal, at Ctrl-C and Ctrl-D.
            b'q' | 0 | 3 | 4 => return Ok(Answer::Quit),
            _ => output::line("    y apply it   n leave it   a apply it and all others   q leave it and all others"),
        }
    }
}

/// The change itself, by the program that shows changes. It tells which content it has shown: that one may be applied, and none
/// that the agent puts there while the user reads.
fn show(layer: &Layer, change: &Change, shown: &mut Shown) -> Result<()> {
    let (file, path) = (layer.path().join("shown"), layer.src().join(&change.path));
    porcelain::show_change(&path, &file)?;
    let bytes = libsbox::fs::read_plain(&file).unwrap_or_default();
    let record = |line: &[u8]| {
        let (digest, path) = line.split_at_checked(65)?;
        Some((OsStr::from_bytes(path).into(), String::from_utf8_lossy(&digest[..64]).into_owned()))
    };
    let of: Shown = bytes.split(|byte| *byte == 0).filter_map(record).collect();
    // What could not be shown is not one of them, and has the empty content's place: nothing fits it.
    let is_content = change.new.as_ref().is_some_and(|new| matches!(new.what, What::File | What::Link));
    if is_content {
        shown.insert(path.clone(), of.get(&path).cloned().unwrap_or_default());
    }
    let _ = std::fs::remove_file(file);
    Ok(())
}

/// Asks for one key, which is read at once and without an echo. The terminal is ready for it before the question stands there:
/// a Ctrl-C in between would end the program, and what was chosen would not be applied.
fn key(prompt: &str) -> Result<u8> {
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    let shown = || "read a key".to_owned();
    let before = tcgetattr(&stdin).context(shown)?;
    let mut modes = before.clone();
    // Ctrl-C, too, is a key here: the terminal has to be put back first.
    modes.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
    modes.special_codes[SpecialCodeIndex::VMIN] = 1;
    modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&stdin, OptionalActions::Drain, &modes).context(shown)?;
    let _ = stderr.write_all(prompt.as_bytes()).and_then(|()| stderr.flush());
    let mut key = [0];
    let result = stdin.lock().read(&mut key);
    tcsetattr(&stdin, OptionalActions::Drain, &before).context(shown)?;
    result.context(shown)?;
    Ok(key[0])
}
