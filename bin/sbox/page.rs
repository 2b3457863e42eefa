//! A manual page as plain text, for hosts without a formatter and for pipes.
//!
//! It knows the macros of mdoc(7) that our pages use, and no others.

const COLUMNS: usize = 78;
const MARGIN: usize = 4;

/// The text of a page, without its header and footer.
pub fn plain(source: &str) -> String {
    let mut page = Page::default();
    for line in source.lines() {
        match line.strip_prefix('.') {
            Some(request) => page.request(request),
            None if page.literal => page.out += &format!("{:1$}{2}\n", "", page.indent() + MARGIN, unescape(line)),
            None => page.add(&unescape(line)),
        }
    }
    page.flush();
    page.out
}

#[derive(Default)]
struct Page {
    out: String,
    /// What was read and is not in `out` yet: a paragraph, not broken into lines.
    words: String,
    /// Lists that are open.
    lists: usize,
    /// What `.Nm` without an argument means.
    name: String,
    /// In a display, where lines stay as they are.
    literal: bool,
    /// In the section where each `.Nm` begins a line.
    synopsis: bool,
}

impl Page {
    fn request(&mut self, request: &str) {
        let (name, rest) = request.split_once(' ').unwrap_or((request, ""));
        match name {
            "Sh" | "Ss" => {
                self.blank();
                self.synopsis = rest == "SYNOPSIS";
                self.out += &format!("{:1$}{2}\n", "", if name == "Ss" { MARGIN / 2 } else { 0 }, unescape(rest));
            }
            "It" => {
                self.blank();
                let mark = if rest.is_empty() { "*".into() } else { inline(rest) };
                self.out += &format!("{:1$}{mark}\n", "", self.lists * MARGIN);
            }
            "Bl" => {
                self.flush();
                self.lists += 1;
            }
            "El" => {
                self.flush();
                self.lists = self.lists.saturating_sub(1);
            }
            "Bd" | "Ed" => {
                self.blank();
                self.literal = name == "Bd";
            }
            "Pp" => self.blank(),
            "Nd" => self.add(&format!("- {}", unescape(rest))),
            "Nm" => {
                if self.name.is_empty() {
                    self.name = unescape(rest);
                }
                let name = if rest.is_empty() { self.name.clone() } else { unescape(rest) };
                if self.synopsis {
                    self.flush();
                }
                self.add(&name);
            }
            "Dd" | "Dt" | "Os" | "\\\"" => {}
            _ => self.add(&inline(request)),
        }
    }

    fn indent(&self) -> usize {
        MARGIN + self.lists * MARGIN
    }

    fn add(&mut self, text: &str) {
        if !self.words.is_empty() {
            self.words.push(' ');
        }
        self.words += text;
    }

    fn blank(&mut self) {
        self.flush();
        if !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// Breaks the paragraph into lines.
    fn flush(&mut self) {
        let indent = self.indent();
        let mut width = 0;
        for word in std::mem::take(&mut self.words).split_whitespace() {
            let length = word.chars().count();
            if width == 0 {
                self.out += &" ".repeat(indent);
                width = indent;
            } else if width + 1 + length > COLUMNS {
                self.out += &format!("\n{:indent$}", "");
                width = indent;
            } else {
                self.out.push(' ');
                width += 1;
            }
            self.out += word;
            width += length;
        }
        if width > 0 {
            self.out.push('\n');
        }
    }
}

/// A line of macros: `Op Fl n Ns , Fl -dry-run` reads `[-n, --dry-run]`.
fn inline(text: &str) -> String {
    const PLAIN: [&str; 10] = ["Ar", "Pa", "Ev", "Cm", "Li", "Sy", "Em", "Nm", "Ns", "No"];
    let (mut out, mut ends) = (String::new(), String::new());
    // What stands before the next word, and whether a word is a section, a flag, or in quotes.
    let (mut space, mut section, mut flag, mut quoted) = (false, false, false, false);
    for word in text.split_whitespace() {
        let mark = word.len() == 1 && ",.;:)".contains(word);
        let known = matches!(word, "Fl" | "Op" | "Pq" | "Ql" | "Xr") || PLAIN.contains(&word);
        if quoted && (mark || known) {
            out.push('\'');
            quoted = false;
        }
        if known {
            (flag, section) = (word == "Fl", word == "Xr");
            space &= word != "Ns";
        }
        if known && !matches!(word, "Op" | "Pq" | "Ql") {
            continue;
        }
        let number = section && word.bytes().all(|byte| byte.is_ascii_digit());
        if space && !mark && !number {
            out.push(' ');
        }
        space = !known;
        match word {
            "Op" => {
                out.push('[');
                ends.insert(0, ']');
            }
            "Pq" => {
                out.push('(');
                ends.insert(0, ')');
            }
            "Ql" => {
                out.push('\'');
                quoted = true;
            }
            word if number => out += &format!("({word})"),
            word => {
                if flag && !mark && word != "|" {
                    out.push('-');
                }
                out += &unescape(word);
            }
        }
    }
    if quoted {
        out.push('\'');
    }
    // Final punctuation goes outside the closing bracket.
    let after = if [" .", " ,", " ;"].iter().any(|end| text.ends_with(end)) { out.pop() } else { None };
    out += &ends;
    out.extend(after);
    out
}

fn unescape(text: &str) -> String {
    text.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\").replace("\\(aq", "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_read_as_a_formatter_shows_them() {
        assert_eq!(inline("Op Fl -locked | -update"), "[--locked | --update]");
        assert_eq!(inline("Fl n Ns , Fl -dry-run"), "-n, --dry-run");
        assert_eq!(inline("Op Ar command Op Ar argument ..."), "[command [argument ...]]");
        assert_eq!(inline("Xr sbox-pack 1 ,"), "sbox-pack(1),");
        assert_eq!(inline("Pq Ql 30s , the default ."), "('30s', the default).");
        assert_eq!(inline("Ql network: none ."), "'network: none'.");
        assert_eq!(inline("Cm ro : Li true"), "ro: true");
    }

    #[test]
    fn a_synopsis_is_one_line_and_text_is_broken_at_words() {
        let page = plain(&format!(
            ".Sh NAME\n.Nm it\n.Nd does\n.Sh SYNOPSIS\n.Nm\n.Op Fl n\n.Nm\n.Ar f\n.Sh DESCRIPTION\n{}",
            "word ".repeat(30)
        ));
        assert!(
            page.starts_with("\nNAME\n    it - does\n\nSYNOPSIS\n    it [-n]\n    it f\n\nDESCRIPTION\n"),
            "{page}"
        );
        assert!(page.lines().all(|line| line.len() <= COLUMNS), "{page}");
        assert_eq!(page.matches("word").count(), 30);
    }
}
