//! sbox-edit: the configuration in the user's editor. It takes effect when nothing is wrong with it.
#![forbid(unsafe_code)]

use libsbox::check;
use libsbox::cli::{self, Tool};
use libsbox::config;
use libsbox::error::{Context, Error, Kind, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::output;
use libsbox::project::Project;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, ExitCode};

const TOOL: Tool = Tool { name: "sbox-edit", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox edit
Edit .sbox/config.yaml with $VISUAL or $EDITOR. The new text is checked before
it takes the place of the old one, and can be edited again.

  -h, --help       print this text
  -V, --version    print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    cli::no_options(args)?;
    let project = Project::find()?;
    let old = config::read(&project)?;
    // Beside the configuration, where no sandbox sees it; editors go by how a name ends.
    let draft = project.state().join(format!("config.draft-{}.yaml", std::process::id()));
    fs::write_atomic(&draft, old.as_bytes(), 0o600)?;
    let result = edit(&project, &draft, &old);
    match result {
        Ok(Outcome::Kept(text)) => {
            let changed = config::read(&project)? != old;
            if changed {
                return Err(Error::new("somebody else has changed the configuration meanwhile")
                    .hint(format!("your text is in '{}'", escape::visible_path(&draft))));
            }
            fs::write_atomic(&project.config(), text.as_bytes(), 0o644)?;
            output::ok("Configuration changed");
            output::hint("sbox build");
        }
        Ok(Outcome::Unchanged) => output::info("nothing changed"),
        Ok(Outcome::Discarded) => output::info("the configuration stays as it was"),
        Err(error) => {
            let _ = std::fs::remove_file(&draft);
            return Err(error);
        }
    }
    let _ = std::fs::remove_file(&draft);
    Ok(0)
}

enum Outcome {
    Kept(String),
    Unchanged,
    Discarded,
}

/// Until the text is right, or the user has had enough.
fn edit(project: &Project, draft: &Path, old: &str) -> Result<Outcome> {
    loop {
        open(draft)?;
        let text = std::fs::read_to_string(draft).context(|| "read the edited configuration".into())?;
        if text == old {
            return Ok(Outcome::Unchanged);
        }
        let report = check::check(&text, project.root());
        report.print(false);
        if report.errors().next().is_none() {
            return Ok(Outcome::Kept(text));
        }
        if !std::io::stdin().is_terminal() {
            return Err(Error::new("the new configuration has errors; the old one stays"));
        }
        if !again()? {
            return Ok(Outcome::Discarded);
        }
    }
}

fn again() -> Result<bool> {
    output::ask("Edit it again? Otherwise the configuration stays as it was. [Y/n]");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context(|| "read the answer".into())?;
    // The end of the input is not an answer.
    Ok(!answer.is_empty() && !matches!(answer.trim().chars().next(), Some('n' | 'N')))
}

/// As git does it: the variable is a command line, and the file its last argument.
fn open(draft: &Path) -> Result<()> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let editor = set("VISUAL")
        .or_else(|| set("EDITOR"))
        .or_else(installed)
        .ok_or_else(|| Error::new("there is no editor").hint("set $EDITOR, for example: EDITOR=nano sbox edit"))?;
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(format!("{editor} \"$@\"")).arg(&editor).arg(draft);
    let status = command.status().context(|| format!("start '{}'", escape::visible(&editor)))?;
    match status.success() {
        true => Ok(()),
        false => {
            let message = format!("'{}' failed; the configuration stays as it was", escape::visible(&editor));
            Err(Error::of(Kind::Failure, message))
        }
    }
}

fn installed() -> Option<String> {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let has =
        |name: &&str| std::env::split_paths(&places).any(|place| place.is_absolute() && place.join(name).is_file());
    ["editor", "vi", "nano"].into_iter().find(has).map(String::from)
}
