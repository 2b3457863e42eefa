//! What becomes of the head of a request: placeholders are exchanged for values where they belong, or it is refused.

use super::head::Head;
use super::replace::{Pair, replaced};
use super::store::{Secret, View};
use crate::base64;
use std::sync::Arc;

/// Headers that tell who asks and from where, and in which a key has nothing to do.
const NEVER: [&str; 3] = ["user-agent", "referer", "origin"];

/// A request that may go on.
pub struct Swapped {
    /// What an answer could give away beside the values themselves: what was sent, and what the client had sent.
    pub sent: Vec<Pair>,
}

/// Which of the secrets has its placeholder in these bytes.
pub fn named<'a>(secrets: &'a [Arc<Secret>], bytes: &[u8]) -> Option<&'a Arc<Secret>> {
    secrets.iter().find(|secret| memchr::memmem::find(bytes, secret.placeholder.as_bytes()).is_some())
}

/// The placeholder of a secret in these bytes, in the clear or as the password of `Basic`.
pub fn placeholder_in<'a>(secrets: &'a [Arc<Secret>], head: &Head) -> Option<&'a Arc<Secret>> {
    named(secrets, &head.first).or_else(|| {
        head.headers.iter().find_map(|(name, value)| {
            let decoded = basic(value).map(|(_, pair)| pair);
            named(secrets, name.as_bytes()).or_else(|| named(secrets, value)).or_else(|| named(secrets, &decoded?))
        })
    })
}

/// `Basic`, a space, and the pair behind it.
fn basic(value: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    Some((scheme, base64::decode(rest.trim_ascii())?))
}

impl View {
    /// Exchanges what is in the head. The error is the reason of a refusal.
    pub fn swap(&self, head: &mut Head, host: &str) -> Result<Swapped, String> {
        if let Some(secret) = placeholder_in(&self.others, head) {
            return Err(format!(
                "the placeholder of '{}' was on its way to '{host}', which is not its host",
                secret.name
            ));
        }
        let mut sent = Vec::new();
        self.address(head)?;
        for (name, value) in &mut head.headers {
            if NEVER.iter().any(|never| name.eq_ignore_ascii_case(never)) {
                continue;
            }
            if let Some((scheme, pair)) = basic(value)
                && let Some(exchanged) = self.exchanged(&pair)?
            {
                let (before, after) = (base64::encode(&pair), base64::encode(&exchanged));
                *value = [scheme, after.as_bytes()].concat();
                sent.push(Pair::new(after, before));
            } else if let Some(exchanged) = self.exchanged(value)? {
                *value = exchanged;
            }
        }
        Ok(Swapped { sent })
    }

    fn address(&self, head: &mut Head) -> Result<(), String> {
        let mut pairs = Vec::new();
        for secret in self.own.iter().filter(|secret| has(&head.first, secret)) {
            if !secret.places.address {
                let name = &secret.name;
                return Err(format!(
                    "the placeholder of '{name}' is in the address; secrets.{name}.in: [header, address] would exchange it"
                ));
            }
            pairs.push(Pair::new(&*secret.placeholder, percent_encoded(secret.value()?)));
        }
        head.first = replaced(&pairs, &head.first).0;
        Ok(())
    }

    /// The bytes of a header with values in it; nothing if there is nothing to exchange.
    fn exchanged(&self, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let mut pairs = Vec::new();
        for secret in self.own.iter().filter(|secret| has(bytes, secret)) {
            if !secret.places.header {
                let name = &secret.name;
                return Err(format!(
                    "the placeholder of '{name}' is in a header, and secrets.{name}.in does not say so"
                ));
            }
            pairs.push(Pair::new(&*secret.placeholder, secret.value()?));
        }
        Ok((!pairs.is_empty()).then(|| replaced(&pairs, bytes).0))
    }

    /// What is exchanged in the body of a request: values where that was asked for; and placeholders of others never leave.
    /// An agent tells a model what it finds, and what it finds are placeholders: such a request goes on, without them.
    pub fn body(&self) -> Result<Vec<Pair>, String> {
        let mask = |secret: &Arc<Secret>| Pair::new(&*secret.placeholder, "*".repeat(secret.placeholder.len()));
        let mut pairs: Vec<Pair> = self.others.iter().map(mask).collect();
        for secret in self.own.iter().filter(|secret| secret.places.body) {
            pairs.push(Pair::new(&*secret.placeholder, secret.value()?));
        }
        Ok(pairs)
    }

    /// What must not come back: values in the forms in which servers say them again, and what was sent in their place.
    pub fn answer(&self, sent: &[Pair]) -> Vec<Pair> {
        let mut pairs: Vec<Pair> = sent.to_vec();
        for secret in self.own.iter().chain(&self.others) {
            for value in secret.values() {
                let mut forms = vec![value.to_owned(), percent_encoded(value), lower_hex(&percent_encoded(value))];
                forms.push(value.replace('\\', "\\\\").replace('"', "\\\"").replace('/', "\\/"));
                forms.push(value.replace('\\', "\\\\").replace('"', "\\\""));
                forms.push(html_escaped(value));
                for form in forms {
                    let pair = Pair::new(form, &*secret.placeholder);
                    if !pairs.contains(&pair) {
                        pairs.push(pair);
                    }
                }
            }
        }
        pairs
    }
}

fn has(bytes: &[u8], secret: &Secret) -> bool {
    memchr::memmem::find(bytes, secret.placeholder.as_bytes()).is_some()
}

/// The same with `%2f` in place of `%2F`, as some servers write it.
fn lower_hex(text: &str) -> String {
    let mut left = 0;
    let lower = |letter: char| {
        let is_hex = left > 0;
        left = if letter == '%' {
            2
        } else if is_hex {
            left - 1
        } else {
            0
        };
        if is_hex { letter.to_ascii_lowercase() } else { letter }
    };
    text.chars().map(lower).collect()
}

/// RFC 3986, section 2.1: all but what is unreserved.
fn percent_encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn html_escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use libsbox::model::secret::Places;

    fn secret(name: &str, value: &str, places: Places) -> Arc<Secret> {
        Arc::new(Secret::for_a_test(name, &format!("sk-place-{name}"), value, places))
    }

    fn view(places: Places) -> View {
        View { own: vec![secret("own", "sk-re/al", places)], others: vec![secret("other", "sk-x", Places::default())] }
    }

    fn swap(view: &View, text: &str) -> Result<String, String> {
        let mut head = Head::parse(text.replace('\n', "\r\n").as_bytes()).unwrap();
        view.swap(&mut head, "api.test")?;
        Ok(String::from_utf8(head.bytes()).unwrap().replace("\r\n", "\n"))
    }

    #[test]
    fn a_value_in_an_address_is_known_with_hexadecimal_digits_of_either_case() {
        let view = View { own: vec![secret("own", "Ab/Cd+==", Places::default())], others: Vec::new() };
        let lower = Pair::new("Ab%2fCd%2b%3d%3d", "sk-place-own");
        assert!(view.answer(&[]).contains(&lower));
        assert_eq!(lower_hex("Ab%2FCd%2B%3D%3D-%2"), "Ab%2fCd%2b%3d%3d-%2");
    }

    #[test]
    fn headers_are_exchanged_and_some_never() {
        let text = "GET / HTTP/1.1\nAuthorization: Bearer sk-place-own\nUser-Agent: sk-place-own\nCookie: a=sk-place-own; b\n\n";
        let wanted =
            "GET / HTTP/1.1\nAuthorization: Bearer sk-re/al\nUser-Agent: sk-place-own\nCookie: a=sk-re/al; b\n\n";
        assert_eq!(swap(&view(Places::default()), text).unwrap(), wanted);
    }

    #[test]
    fn basic_is_taken_apart_and_what_was_sent_is_known() {
        let view = view(Places::default());
        let pair = base64::encode(b"x-access-token:sk-place-own");
        let mut head =
            Head::parse(format!("GET / HTTP/1.1\r\nAuthorization: basic {pair}\r\n\r\n").as_bytes()).unwrap();
        let sent = view.swap(&mut head, "api.test").unwrap().sent;
        let real = base64::encode(b"x-access-token:sk-re/al");
        assert_eq!(head.all("authorization"), [format!("basic {real}").as_bytes()]);
        assert_eq!(
            replaced(&view.answer(&sent), format!("you said {real}").as_bytes()).0,
            format!("you said {pair}").into_bytes()
        );
    }

    #[test]
    fn what_belongs_to_another_host_is_refused_wherever_it_is() {
        let hidden = base64::encode(b"u:sk-place-other");
        for text in [
            "GET /?k=sk-place-other HTTP/1.1\n\n".to_owned(),
            "GET / HTTP/1.1\nX: sk-place-other\n\n".to_owned(),
            "GET / HTTP/1.1\nUser-Agent: sk-place-other\n\n".to_owned(),
            format!("GET / HTTP/1.1\nAuthorization: Basic {hidden}\n\n"),
            "GET / HTTP/1.1\nsk-place-other: x\n\n".to_owned(),
        ] {
            assert!(swap(&view(Places::default()), &text).unwrap_err().contains("not its host"), "{text}");
        }
    }

    #[test]
    fn an_address_is_exchanged_where_that_is_asked_for() {
        let text = "GET /v1?key=sk-place-own HTTP/1.1\n\n";
        assert!(swap(&view(Places::default()), text).unwrap_err().contains("in: [header, address]"));
        let places = Places { address: true, ..Places::default() };
        assert_eq!(swap(&view(places), text).unwrap(), "GET /v1?key=sk-re%2Fal HTTP/1.1\n\n");
    }

    #[test]
    fn values_are_known_again_in_the_forms_that_servers_use() {
        let answer = view(Places::default()).answer(&[]);
        for text in ["sk-re/al", "sk-re%2Fal", "sk-re%2fal", r#"{"k":"sk-re\/al"}"#] {
            let (out, found) = replaced(&answer, text.as_bytes());
            assert!(found && memchr::memmem::find(&out, b"sk-re").is_none(), "{text}");
        }
    }
}
