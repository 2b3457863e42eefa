//! An item more in a list of the configuration. Every other line stays as it is: comments, order and indentation are the
//! user's.

use crate::locate::{Step, locate};

/// Whether the file has this key.
pub fn has(text: &str, key: &str) -> bool {
    line_of(text, key).is_some()
}

/// The file with `item` at the end of the list at `key`; nothing if the list is written in a way that is not known here.
pub fn append(text: &str, key: &str, item: &str) -> Option<String> {
    let item = scalar(item);
    let Some(at) = line_of(text, key) else {
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return Some(format!("{text}{gap}\n{key}:\n  - {item}\n"));
    };
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let value = lines[at].split_once(':')?.1.trim().to_owned();
    if value.is_empty() || value.starts_with('#') {
        match block(&lines, at) {
            Some((last, indent)) => lines.insert(last + 1, format!("{indent}- {item}")),
            None => lines.insert(at + 1, format!("  - {item}")),
        }
    } else if value.starts_with('[') {
        let close = end_of_flow(&lines[at])?;
        let line = &lines[at];
        let is_empty = line[..close].trim_end().ends_with('[');
        let before = line[..close].trim_end().trim_end_matches(',');
        let comma = if is_empty { "" } else { ", " };
        lines[at] = format!("{before}{comma}{}{}", quoted(&item), &line[close..]);
    } else if value.starts_with(['|', '>', '&', '*', '!', '{']) || continues(&lines, at) {
        return None;
    } else {
        // One command or package, not in a list.
        let name = lines[at].split_once(':')?.0.to_owned();
        lines[at] = format!("{name}:");
        lines.insert(at + 1, format!("  - {value}"));
        lines.insert(at + 2, format!("  - {item}"));
    }
    Some(lines.join("\n") + "\n")
}

/// The same for a list below other keys, which has to be there, in one line or with an item in each.
pub fn append_at(text: &str, keys: &[&str], item: &str) -> Option<String> {
    if let [key] = keys {
        return append(text, key, item);
    }
    let path: Vec<Step> = keys.iter().map(|key| Step::Key((*key).to_owned())).collect();
    let (line, column) = locate(text, &path, true)?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (at, start) = (line - 1, lines.get(line - 1)?.char_indices().nth(column - 1)?.0);
    let (before, own) = lines.get(at)?.split_at_checked(start)?;
    let (key, value) = own.split_once(':')?;
    if key != *keys.last()? {
        return None;
    }
    let item = scalar(item);
    if value.trim().is_empty() || value.trim().starts_with('#') {
        let (last, indent) = block(&lines, at)?;
        lines.insert(last + 1, format!("{indent}- {item}"));
    } else if value.trim_start().starts_with('[') {
        let close = end_of_flow(own)?;
        let is_empty = own[..close].trim_end().ends_with('[');
        let kept = own[..close].trim_end().trim_end_matches(',');
        let comma = if is_empty { "" } else { ", " };
        let new = format!("{before}{kept}{comma}{}{}", quoted(&item), &own[close..]);
        *lines.get_mut(at)? = new;
    } else {
        return None;
    }
    Some(lines.join("\n") + "\n")
}

/// The line of a key at the top, from 0.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let (line, column) = locate(text, &[Step::Key(key.to_owned())], true)?;
    (column == 1).then(|| line - 1)
}

/// Of a list under a key: its last line, and the indentation of its items.
fn block(lines: &[String], at: usize) -> Option<(usize, String)> {
    let mut found: Option<(usize, String)> = None;
    for (number, line) in lines.iter().enumerate().skip(at + 1) {
        let words = line.trim_start();
        if words.is_empty() || words.starts_with('#') {
            continue;
        }
        let indent = &line[..line.len() - words.len()];
        match &mut found {
            None if words == "-" || words.starts_with("- ") => found = Some((number, indent.to_owned())),
            Some((last, own)) if indent.len() > own.len() || indent == own && words.starts_with('-') => *last = number,
            _ => break,
        }
    }
    found
}

/// Whether a value goes on in the next line.
fn continues(lines: &[String], at: usize) -> bool {
    lines
        .get(at + 1)
        .is_some_and(|next| next.starts_with(' ') && !next.trim_start().starts_with('#') && !next.trim().is_empty())
}

/// Where the bracket closes that the value begins with; in this line, outside of quotes.
fn end_of_flow(line: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0;
    for (at, letter) in line.char_indices() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '[') => depth += 1,
            (None, ']') if depth == 1 => return Some(at),
            (None, ']') => depth -= 1,
            (None, '#') if line[..at].ends_with(' ') => return None,
            _ => {}
        }
    }
    None
}

/// Text as YAML takes it for nothing but this text.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " -_./=@<>~^+,'".contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts && text.chars().all(plain) && !text.ends_with(' ') { text.to_owned() } else { in_quotes(text) }
}

/// The same between brackets, where a comma would end it.
fn quoted(scalar: &str) -> String {
    if scalar.starts_with('"') || !scalar.contains([',', '\'']) { scalar.to_owned() } else { in_quotes(scalar) }
}

fn in_quotes(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(text: &str) -> String {
        append(text, "install", "pip install 'b>=2'").unwrap_or_else(|| "by hand".into())
    }

    #[test]
    fn an_item_comes_last_and_nothing_else_moves() {
        let text = "# top\ninstall:  # once\n  # first\n  - pip install a  # why\n\n# next\ncmd: x\n";
        let wanted =
            "# top\ninstall:  # once\n  # first\n  - pip install a  # why\n  - pip install 'b>=2'\n\n# next\ncmd: x\n";
        assert_eq!(added(text), wanted);
        assert_eq!(added("install:\n- a\n- b\ncmd: x\n"), "install:\n- a\n- b\n- pip install 'b>=2'\ncmd: x\n");
        let long = "install:\n    - >-\n      a\n      b\ncmd: x\n";
        assert_eq!(added(long), "install:\n    - >-\n      a\n      b\n    - pip install 'b>=2'\ncmd: x\n");
    }

    #[test]
    fn every_other_way_to_write_a_list_is_kept_or_refused() {
        assert_eq!(added("cmd: x"), "cmd: x\n\ninstall:\n  - pip install 'b>=2'\n");
        assert_eq!(added("install:\ncmd: x\n"), "install:\n  - pip install 'b>=2'\ncmd: x\n");
        assert_eq!(added("install: []\n"), "install: [\"pip install 'b>=2'\"]\n");
        assert_eq!(added("install: [a, 'b]']  # c]\n"), "install: [a, 'b]', \"pip install 'b>=2'\"]  # c]\n");
        assert_eq!(added("install: a # why\n"), "install:\n  - a # why\n  - pip install 'b>=2'\n");
        for text in ["install: [a,\n  b]\n", "install: |\n  a\n", "install: a\n  b\n", "install: &x\n  - a\n"] {
            assert_eq!(added(text), "by hand", "{text}");
        }
    }

    #[test]
    fn a_list_below_a_key_gets_its_item_and_nothing_else_moves() {
        let added = |text: &str| append_at(text, &["network", "allow"], "b.org:22").unwrap_or_else(|| "by hand".into());
        assert_eq!(
            added("network:\n  # which\n  allow:\n    - a.org  # why\n  log: true\n"),
            "network:\n  # which\n  allow:\n    - a.org  # why\n    - \"b.org:22\"\n  log: true\n"
        );
        assert_eq!(
            added("network: {allow: [a.org], deny: [c]}  # x\n"),
            "network: {allow: [a.org, \"b.org:22\"], deny: [c]}  # x\n"
        );
        assert_eq!(added("network:\n  allow: []\n"), "network:\n  allow: [\"b.org:22\"]\n");
        for text in [
            "network: host\n",
            "x: 1\n",
            "network: {deny: [a]}\n",
            "network:\n  allow: [a,\n    b]\n",
            "network:\n  allow: a.org\n",
        ] {
            assert_eq!(added(text), "by hand", "{text}");
        }
    }

    #[test]
    fn what_yaml_would_take_for_something_else_is_quoted() {
        assert_eq!(
            ["ffmpeg", "git >=2.40", "a: b", "1.5", "x #y", "a\"b\\"].map(scalar),
            ["ffmpeg", "git >=2.40", "\"a: b\"", "\"1.5\"", "\"x #y\"", "\"a\\\"b\\\\\""]
        );
    }
}
