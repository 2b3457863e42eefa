//! Who the user is to git: name and e-mail address, and nothing else of the user's configuration.
//!
//! Without them every `git commit` in a sandbox fails for a user who has set them for all repositories and not in each. They
//! are in the log of the user's repositories already.

use crate::dir::Dir;
use crate::git;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Longer than this is neither a name nor an address.
const LONGEST: usize = 256;

/// `user.name` and `user.email`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The name.
    pub name: Option<String>,
    /// The address.
    pub email: Option<String>,
}

/// Whether git takes a directory for a working tree.
pub fn is_working_tree(directory: &Path) -> bool {
    directory.join(".git").symlink_metadata().is_ok()
}

impl Identity {
    /// The one that commits in the working tree at `directory` get from this host's git; nothing if it has none.
    pub fn of(directory: &Path) -> Option<Identity> {
        let mut identity = Identity::default();
        if let Ok(repository) = Dir::open(directory).and_then(|dir| dir.sub(".git")) {
            identity.take(&git::read(&repository, "config").unwrap_or_default());
        }
        for file in users_files() {
            if identity.is_whole() {
                break;
            }
            match std::fs::read_to_string(&file) {
                // What it includes may depend on where the repository is: only git knows.
                Ok(text) if leads_elsewhere(&text) => identity.ask_git(directory),
                Ok(text) => identity.take(&text),
                Err(_) => {}
            }
        }
        (identity.name.is_some() || identity.email.is_some()).then_some(identity)
    }

    fn is_whole(&self) -> bool {
        self.name.is_some() && self.email.is_some()
    }

    fn set(&mut self, key: &str, value: &str) {
        let value: String = value.chars().filter(|letter| !letter.is_control()).take(LONGEST).collect();
        let place = match key {
            "name" => &mut self.name,
            "email" => &mut self.email,
            _ => return,
        };
        if place.is_none() && !value.trim().is_empty() {
            *place = Some(value.trim().to_owned());
        }
    }

    /// Takes what is missing from the text of a configuration; the last line of a file wins there.
    fn take(&mut self, text: &str) {
        let mut is_user = false;
        let mut found = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(head) = line.strip_prefix('[') {
                is_user = head.split(']').next().is_some_and(|head| head.trim().eq_ignore_ascii_case("user"));
            } else if let (true, Some((key, value))) = (is_user, line.split_once('=')) {
                found.push((key.trim().to_ascii_lowercase(), value_of(value)));
            }
        }
        for (key, value) in found.iter().rev() {
            self.set(key, value);
        }
    }

    /// The user's own files, with what they include for this repository. Reading them runs nothing.
    fn ask_git(&mut self, directory: &Path) {
        let mut command = Command::new("git");
        command.args(["config", "--global", "--includes", "--null", "--get-regexp", r"^user\.(name|email)$"]);
        let output = command.current_dir(directory).stdin(Stdio::null()).stderr(Stdio::null()).output();
        let Ok(output) = output else { return };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for entry in text.split('\0').rev() {
            if let Some((key, value)) = entry.split_once('\n') {
                self.set(key.trim_start_matches("user."), value);
            }
        }
    }

    /// A configuration of git's with these and nothing else.
    pub fn config(&self) -> String {
        let line = |key: &str, value: &Option<String>| match value {
            Some(value) => format!("\t{key} = \"{}\"\n", value.replace('\\', "\\\\").replace('"', "\\\"")),
            None => String::new(),
        };
        format!("[user]\n{}{}", line("name", &self.name), line("email", &self.email))
    }
}

/// The user's configurations, the strongest first (git-config(1), FILES).
fn users_files() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = variable("GIT_CONFIG_GLOBAL") {
        return vec![file];
    }
    let home = variable("HOME");
    let xdg = variable("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let files = [home.map(|home| home.join(".gitconfig")), xdg.map(|xdg| xdg.join("git/config"))];
    files.into_iter().flatten().collect()
}

fn leads_elsewhere(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        line.ends_with('\\') || line.get(..8).is_some_and(|head| head.eq_ignore_ascii_case("[include"))
    })
}

/// A value as git reads it: without its quotes and without a comment.
fn value_of(written: &str) -> String {
    let (mut out, mut is_quoted) = (String::new(), false);
    let mut letters = written.trim().chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => is_quoted = !is_quoted,
            '#' | ';' if !is_quoted => break,
            '\\' => out.extend(letters.next()),
            letter => out.push(letter),
        }
    }
    out.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Identity {
        let mut identity = Identity::default();
        identity.take(text);
        identity
    }

    #[test]
    fn name_and_address_are_taken_and_nothing_else() {
        let identity = of(
            "[core]\n\tname = no\n[USER]\n\tName = old\n\tname = \"A \\\"B\\\" # C\" # comment\n\temail = a@b ; x\n\
                           \tsigningkey = secret\n[user \"x\"]\n\tname = other\n",
        );
        assert_eq!(identity.name.as_deref(), Some("A \"B\" # C"));
        assert_eq!(identity.email.as_deref(), Some("a@b"));
        assert_eq!(identity.config(), "[user]\n\tname = \"A \\\"B\\\" # C\"\n\temail = \"a@b\"\n");
        assert_eq!(of("[alias]\n\tx = !y\n"), Identity::default());
    }

    #[test]
    fn what_a_file_includes_is_left_to_git() {
        assert!(leads_elsewhere("[user]\n[includeIf \"gitdir:~/work/\"]\n"));
        assert!(!leads_elsewhere("[user]\n\tname = x\n"));
    }

    #[test]
    fn a_name_cannot_bring_another_setting_along() {
        let mut identity = Identity::default();
        identity.set("name", "a\"\n[core]\n\tfsmonitor = evil");
        assert_eq!(identity.config().lines().count(), 2);
    }
}
