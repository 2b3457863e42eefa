//! Variables of the host in the values of `env:`.

/// A value of `env:` taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Literal text.
    Text(String),
    /// `$NAME`, `${NAME}` or `${NAME:-default}`: a variable of the host.
    Variable {
        /// Its name.
        name: String,
        /// What replaces it when it is unset or empty.
        default: Option<String>,
    },
}

/// Takes a value of `env:` apart; `$$` is a dollar, and a dollar before anything else is itself.
pub fn pieces(value: &str) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut text = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some((variable, after)) = variable(rest) {
            if !text.is_empty() {
                out.push(Piece::Text(std::mem::take(&mut text)));
            }
            out.push(variable);
            rest = after;
        } else {
            text.push('$');
        }
    }
    text.push_str(rest);
    if !text.is_empty() || out.is_empty() {
        out.push(Piece::Text(text));
    }
    out
}

fn variable(rest: &str) -> Option<(Piece, &str)> {
    let name_end = |text: &str| {
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
        (end > 0 && !text.starts_with(|c: char| c.is_ascii_digit())).then_some(end)
    };
    match rest.strip_prefix('{') {
        None => {
            let end = name_end(rest)?;
            Some((Piece::Variable { name: rest[..end].to_owned(), default: None }, &rest[end..]))
        }
        Some(inner) => {
            let close = inner.find('}')?;
            let (body, after) = (&inner[..close], &inner[close + 1..]);
            let end = name_end(body)?;
            let default = match &body[end..] {
                "" => None,
                default => Some(default.strip_prefix(":-")?.to_owned()),
            };
            Some((Piece::Variable { name: body[..end].to_owned(), default }, after))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_expand_and_double_dollars_do_not() {
        let text = |text: &str| Piece::Text(text.into());
        let var = |name: &str, default: Option<&str>| Piece::Variable {
            name: name.into(),
            default: default.map(str::to_owned),
        };
        assert_eq!(pieces("cost $5 100%"), [text("cost $5 100%")]);
        assert_eq!(pieces("$$HOME"), [text("$HOME")]);
        assert_eq!(pieces("a${X}b$Y-c"), [text("a"), var("X", None), text("b"), var("Y", None), text("-c")]);
        assert_eq!(pieces("${X:-d}"), [var("X", Some("d"))]);
        assert_eq!(pieces("${bad name}"), [text("${bad name}")]);
        assert_eq!(pieces(""), [text("")]);
    }
}
