//! An answer, for a person and for a program.

use libsbox::escape::visible;
use serde::Serialize;

/// What decides.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A line of the configuration.
    Configuration,
    /// What holds because the configuration does not say otherwise.
    Default,
    /// What sbox does in every sandbox.
    BuiltIn,
    /// Nothing at all.
    Nothing,
}

/// Who decides, and where that stands.
#[derive(Debug, Clone, Serialize)]
pub struct By {
    pub rule: Rule,
    /// The key of the configuration, such as `mount[0]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The line in the file, from 1; nothing where it cannot be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What stands there; of a rule of sbox's own, what it is.
    pub text: String,
}

impl By {
    pub fn built_in(text: impl Into<String>) -> By {
        By { rule: Rule::BuiltIn, key: None, line: None, text: text.into() }
    }

    pub fn default(key: &str, text: impl Into<String>) -> By {
        By { rule: Rule::Default, key: Some(key.to_owned()), line: None, text: text.into() }
    }

    pub fn nothing(text: impl Into<String>) -> By {
        By { rule: Rule::Nothing, key: None, line: None, text: text.into() }
    }

    fn shown(&self) -> String {
        match (&self.rule, &self.key, self.line) {
            (Rule::Configuration, _, Some(line)) => format!("by .sbox/config.yaml:{line}: {}", visible(&self.text)),
            (Rule::Configuration, Some(key), None) => {
                format!("by '{}' in .sbox/config.yaml: {}", visible(key), visible(&self.text))
            }
            (Rule::Default, Some(key), _) => format!("by the default of '{key}': {}", visible(&self.text)),
            (Rule::BuiltIn, ..) => format!("in every sandbox: {}", visible(&self.text)),
            _ => visible(&self.text),
        }
    }
}

/// A line that would change it.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// What it would do.
    pub effect: String,
    /// What to write, as it stands in the file; or a command.
    pub line: String,
}

/// The whole answer.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    pub asked: String,
    pub kind: &'static str,
    /// Whether it is there, or is reached.
    pub yes: bool,
    /// In a few words.
    pub verdict: String,
    /// What can be done with a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<&'static str>,
    /// The path inside, without links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where it is on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// Where a file of the host is inside, if not at its own path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also_at: Vec<String>,
    pub by: By,
    /// More that there is to know.
    pub notes: Vec<String>,
    pub changes: Vec<Change>,
}

impl Answer {
    pub fn new(kind: &'static str, asked: impl Into<String>, yes: bool, verdict: impl Into<String>, by: By) -> Answer {
        Answer {
            asked: asked.into(),
            kind,
            yes,
            verdict: verdict.into(),
            access: None,
            path: None,
            host_path: None,
            also_at: Vec::new(),
            by,
            notes: Vec::new(),
            changes: Vec::new(),
        }
    }

    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    pub fn change(&mut self, effect: impl Into<String>, line: impl Into<String>) {
        self.changes.push(Change { effect: effect.into(), line: line.into() });
    }

    /// For a person.
    pub fn shown(&self) -> String {
        let mut out = format!("{}: {}\n", visible(&self.asked), visible(&self.verdict));
        let mut line = |text: String| out += &format!("  {text}\n");
        line(self.by.shown());
        if let Some(path) = self.path.as_ref().filter(|path| **path != self.asked) {
            line(format!("it is {} inside", visible(path)));
        }
        if let Some(host) = &self.host_path {
            line(format!("on the host it is {}", visible(host)));
        }
        if !self.also_at.is_empty() {
            let places: Vec<String> = self.also_at.iter().map(|place| visible(place)).collect();
            line(format!("the host's is inside at {}", places.join(", ")));
        }
        self.notes.iter().for_each(|note| line(visible(note)));
        for change in &self.changes {
            line(format!("→ {}:", visible(&change.effect)));
            change.line.lines().for_each(|text| line(format!("    {}", visible(text))));
        }
        out
    }
}
