//! Scripts for the host's shell. Host variables stay references: no secret is written to the disk.

use libsbox::check::RESERVED;
use libsbox::config::{Config, Piece, pieces};
use libsbox::environment::{own, own_path};
use libsbox::escape::shell_word;
use libsbox::project::Project;

/// The configuration's variables, without those that sbox sets itself.
fn configured(config: &Config) -> impl Iterator<Item = &(String, String)> {
    config.env.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str()))
}

/// For POSIX shells: sh, bash, zsh, dash.
pub fn sh(project: &Project, config: &Config, level: &str) -> String {
    let mut out = String::from(
        "# Written by sbox. Source it in a POSIX shell to use the project's runtime there; in fish, use\n\
         # 'sbox-envsh --format fish | source'. It confines nothing.\n",
    );
    for (name, value) in own(project, level) {
        out += &format!("export {name}={}\n", shell_word(&value));
    }
    out += &format!("export PATH={}:\"$PATH\"\n", shell_word(&own_path(project)));
    for (name, value) in configured(config) {
        out += &format!("export {name}={}\n", sh_value(value));
    }
    out
}

fn sh_value(value: &str) -> String {
    let piece = |piece: Piece| match piece {
        Piece::Text(text) => shell_word(&text),
        Piece::Variable { name, default: None } => format!("\"${{{name}-}}\""),
        Piece::Variable { name, default: Some(default) } => {
            format!("\"${{{name}:-}}\"$([ -n \"${{{name}:-}}\" ] || printf %s {})", shell_word(&default))
        }
    };
    pieces(value).into_iter().map(piece).collect()
}

/// For fish.
pub fn fish(project: &Project, config: &Config, level: &str) -> String {
    let mut out = String::from("# Written by sbox for fish, to use the project's runtime. It confines nothing.\n");
    for (name, value) in own(project, level) {
        out += &format!("set -gx {name} {}\n", fish_quote(&value));
    }
    let places: Vec<String> = own_path(project).split(':').map(fish_quote).collect();
    out += &format!("set -gx PATH {} $PATH\n", places.join(" "));
    for (name, value) in configured(config) {
        out += &fish_variable(name, value);
    }
    out
}

/// A reference with a default needs a statement: what is substituted and empty would make the whole word disappear.
fn fish_variable(name: &str, value: &str) -> String {
    let (mut before, mut word) = (String::new(), String::new());
    for (number, piece) in pieces(value).into_iter().enumerate() {
        match piece {
            Piece::Text(text) => word += &fish_quote(&text),
            Piece::Variable { name, default: None } => word += &format!("\"${name}\""),
            Piece::Variable { name, default: Some(default) } => {
                let own = format!("__sbox_{number}");
                before +=
                    &format!("set -l {own} \"${name}\"; test -n \"${own}\"; or set {own} {}\n", fish_quote(&default));
                word += &format!("\"${own}\"");
            }
        }
    }
    let word = if word.is_empty() { "''".into() } else { word };
    format!("{before}set -gx {name} {word}\n")
}

fn fish_quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_cannot_be_made_to_run_anything() {
        assert_eq!(sh_value("$(touch x)`id`\""), "'$(touch x)`id`\"'");
        assert_eq!(sh_value("a'b"), r"'a'\''b'");
        assert_eq!(fish_variable("A", "(touch x)$(id)'\\"), "set -gx A '(touch x)$(id)\\'\\\\'\n");
    }

    #[test]
    fn secrets_stay_references_in_the_script() {
        assert_eq!(sh_value("Bearer ${TOKEN}"), "'Bearer '\"${TOKEN-}\"");
        assert_eq!(fish_variable("A", "Bearer ${TOKEN}"), "set -gx A 'Bearer '\"$TOKEN\"\n");
        let with_default = fish_variable("A", "${TOKEN:-it's}");
        assert!(with_default.ends_with("or set __sbox_0 'it\\'s'\nset -gx A \"$__sbox_0\"\n"), "{with_default}");
    }
}
