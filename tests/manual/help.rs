//! A text of `--help`, read.

use crate::common::{Scratch, stdout};
use std::collections::BTreeSet;

/// One line of the list of options, with the lines that continue it.
#[derive(Debug)]
pub struct HelpOption {
    pub short: Option<String>,
    pub long: Option<String>,
    /// What stands for the value, `FILE`; none for a switch.
    pub value: Option<String>,
    pub text: String,
}

#[derive(Debug)]
pub struct Help {
    /// The lines after `usage:`, without it.
    pub usages: Vec<String>,
    pub options: Vec<HelpOption>,
    /// All of it.
    pub text: String,
}

impl Help {
    pub fn of(program: &str) -> Help {
        let scratch = Scratch::new("help");
        let output = scratch.program(program).arg("--help").output().unwrap();
        assert!(output.status.success(), "{program} --help");
        Help::read(&stdout(&output))
    }

    fn read(text: &str) -> Help {
        let mut help = Help { usages: Vec::new(), options: Vec::new(), text: text.to_owned() };
        let mut in_option = false;
        for line in text.lines() {
            let words = line.trim_start();
            if let Some(usage) = line.strip_prefix("usage: ").or_else(|| line.strip_prefix("       sbox")) {
                let whole = if line.starts_with("usage") { usage.to_owned() } else { format!("sbox{usage}") };
                help.usages.push(whole);
            } else if line.starts_with("         ") && help.options.is_empty() && !help.usages.is_empty() {
                let last = help.usages.last_mut().unwrap();
                *last = format!("{last} {words}");
            } else if line.starts_with("  ") && words.starts_with('-') {
                help.options.push(HelpOption::read(words));
                in_option = true;
            } else if in_option && line.starts_with("      ") {
                let text = &mut help.options.last_mut().unwrap().text;
                *text = format!("{text} {words}").trim().to_owned();
            } else {
                in_option = false;
            }
        }
        help
    }

    /// Every option, short and long.
    pub fn names(&self) -> BTreeSet<String> {
        self.options.iter().flat_map(|option| [&option.short, &option.long]).flatten().cloned().collect()
    }
}

impl HelpOption {
    /// What the text says in brackets at its end: the value without the option. None if it is not a plain value.
    pub fn default(&self) -> Option<&str> {
        let (_, default) = self.text.strip_suffix(']')?.rsplit_once('[')?;
        (!default.contains(' ') && !default.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_'))
            .then_some(default)
    }

    fn read(line: &str) -> HelpOption {
        let (names, text) = line.split_once("  ").unwrap_or((line, ""));
        let mut option = HelpOption { short: None, long: None, value: None, text: text.trim().to_owned() };
        for word in names.split_whitespace() {
            match word.trim_end_matches(',') {
                long if long.starts_with("--") => option.long = Some(long.to_owned()),
                short if short.starts_with('-') => option.short = Some(short.to_owned()),
                value if option.value.is_none() => option.value = Some(value.to_owned()),
                more => option.value = option.value.map(|value| format!("{value} {more}")),
            }
        }
        option
    }
}

#[test]
fn a_help_text_is_read_with_its_continuations() {
    let help = Help::read(
        "usage: sbox x [-n] [FILE]\n         [MORE]\n       sbox x --list\nDo it.\n\n  -n, --name NAME  first line\n\
         \x20                  second line [x]\n      --list       list\n\nafterwards\n",
    );
    assert_eq!(help.usages, ["sbox x [-n] [FILE] [MORE]", "sbox x --list"]);
    let first = &help.options[0];
    assert_eq!((first.short.as_deref(), first.value.as_deref()), (Some("-n"), Some("NAME")));
    assert_eq!(first.text, "first line second line [x]");
    assert_eq!(help.names(), ["--list", "--name", "-n"].map(str::to_owned).into());
}
