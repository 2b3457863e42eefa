//! What micromamba's failures are, by what it says and how it ends.
//!
//! Its words are those of 2.8.1, and of 1.5 where those were known; the tests below read records of real runs. Advice is not
//! looked at: "your package cache may be corrupted" is printed below nearly everything.

use crate::channel;
use libsbox::error::Error;
use libsbox::escape::visible;
use std::fmt;
use std::time::Duration;

/// A run of micromamba that failed, or what we did not accept of one.
#[derive(Debug)]
pub struct MambaError {
    pub cause: Cause,
    /// All that it said: stderr, then stdout.
    pub words: String,
    /// stdout alone: with --json, the answer as far as it got.
    pub answer: Vec<u8>,
}

/// Why it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// There is no room, in the package cache or where the environment is made.
    Full,
    /// Something could not be fetched.
    Network(Unreached),
    /// The packages that were asked for cannot be had together, or not at all.
    Unsolvable,
    /// What was asked for is not a package as conda writes it.
    BadSpec,
    /// Something is not what its hash says, or cannot be unpacked.
    Damage,
    /// There is nothing to check a package by.
    Unchecked,
    /// The index of a channel cannot be read again.
    BrokenIndex,
    /// It does not know an option of ours.
    Version,
    /// Nothing happened for so long.
    Silent(Duration),
    /// It took longer than this.
    TooLong(Duration),
    Other,
}

/// A server, and how it failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unreached {
    /// The file that was asked for, without secrets.
    pub url: String,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The reason, if there was none.
    pub why: String,
    pub is_certificate: bool,
}

impl Unreached {
    /// Whether another try may do better.
    pub fn is_transient(&self) -> bool {
        self.status.is_some_and(|status| status >= 500 || status == 429)
    }
}

impl MambaError {
    /// From a run that ended by itself.
    pub fn of(code: Option<i32>, stderr: &[u8], stdout: &[u8]) -> MambaError {
        let [said, answer] = [stderr, stdout].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let words = format!("{said}\n{answer}");
        MambaError { cause: cause(code, &words), words, answer: stdout.to_vec() }
    }

    pub fn own(cause: Cause, words: impl Into<String>) -> MambaError {
        MambaError { cause, words: words.into(), answer: Vec::new() }
    }

    /// The lines that matter, without what each begins with: errors with what is indented below them, no progress, no
    /// advice, nothing of locks, nothing twice.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut is_of_error = false;
        for line in self.words.lines().filter(|line| !line.trim().is_empty()) {
            let head = ["critical libmamba", "error    libmamba"].iter().find_map(|head| line.strip_prefix(head));
            is_of_error = match head {
                Some(text) => !text.contains("lock"),
                None => is_of_error && line.starts_with("    "),
            };
            let text = head.unwrap_or(line).trim().trim_end_matches(';').to_owned();
            if is_of_error && !is_advice(&text) && !lines.contains(&text) && lines.len() < 12 {
                lines.push(text);
            }
        }
        if lines.is_empty() {
            // Another program's words: sbox-spawn, or a micromamba that speaks otherwise.
            let plain =
                self.words.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['{', '}']));
            lines.extend(plain.take(12).map(Into::into));
        }
        lines.iter().map(|line| format!("  {}", visible(&without_secrets(line)))).collect()
    }

    /// The tree by which a failed solve is explained.
    pub fn tree(&self) -> Vec<&str> {
        let start = "error    libmamba Could not solve for environment specs";
        let lines = self.words.lines().skip_while(|line| !line.starts_with(start)).skip(1);
        lines.take_while(|line| line.starts_with("    ")).map(|line| &line[4..]).collect()
    }
}

impl fmt::Display for MambaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl From<Error> for MambaError {
    fn from(error: Error) -> MambaError {
        let cause = if error.to_string().contains("no space left") { Cause::Full } else { Cause::Other };
        MambaError::own(cause, error.to_string())
    }
}

fn is_advice(line: &str) -> bool {
    [
        "If you run into this error",
        "Please try running",
        "If you still are having issues",
        "https://github.com/mamba-org",
        "If you see this message",
        "in which case running",
        "If you continue to meet",
        "on  mamba's issue tracker",
        "You may need to remove it manually",
        "All changes from this transaction",
        "Multiple errors occurred:",
        // It could not be unpacked, which was said before: then there is nothing to read.
        "Error opening for reading",
        "Error when extracting package: [json",
    ]
    .iter()
    .any(|start| line.starts_with(start))
}

/// Addresses in a line without passwords and tokens.
fn without_secrets(line: &str) -> String {
    line.split(' ')
        .map(|word| if word.contains("://") { shown_in(word) } else { word.into() })
        .collect::<Vec<_>>()
        .join(" ")
}

fn shown_in(word: &str) -> String {
    let end = word.rfind(']').unwrap_or(word.len());
    let start = word.find('[').map_or(0, |at| at + 1).min(end);
    format!("{}{}{}", &word[..start], channel::shown(&word[start..end]), &word[end..])
}

fn cause(code: Option<i32>, words: &str) -> Cause {
    let text = words.to_lowercase();
    let has = |signs: &[&str]| signs.iter().any(|sign| text.contains(sign));
    if code == Some(109) {
        return Cause::Version;
    }
    // First: what did not fit is also reported as an archive that ends too soon, or as a download that failed.
    let is_write = text.lines().any(|line| line.trim_end() == "critical libmamba write failed");
    if is_write || has(&["no space left on device", "disk quota exceeded", "download error (23)"]) {
        return Cause::Full;
    }
    if has(&["could not solve for environment specs", "\"solver_problems\"", "nothing provides requested"]) {
        return Cause::Unsolvable;
    }
    if has(&["error parsing matchspec", "error parsing version"]) {
        return Cause::BadSpec;
    }
    if let Some(unreached) = unreached(words) {
        return Cause::Network(unreached);
    }
    if has(&[
        "file not valid",
        "found incorrect download",
        "invalid package cache",
        "extracted directory cache",
        "sum doesn't match",
        "error when extracting",
        "could not extract",
    ]) {
        return Cause::Damage;
    }
    if has(&["parse_error.101"]) {
        return Cause::BrokenIndex;
    }
    Cause::Other
}

/// The last server that failed.
fn unreached(words: &str) -> Option<Unreached> {
    let lines: Vec<&str> = words.lines().map(str::trim).collect();
    let at = lines
        .iter()
        .rposition(|line| line.contains("Download error (") || line.contains("Transfer finalized, status:"))?;
    let line = lines[at];
    let url = line.split_once('[').and_then(|(_, rest)| rest.split(']').next()).map(channel::shown).unwrap_or_default();
    if let Some((_, rest)) = line.split_once("status: ") {
        let status = rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
        return Some(Unreached { url, status, ..Unreached::default() });
    }
    let detail = lines.get(at + 1).copied().unwrap_or_default();
    let number: u32 = line.split_once("Download error (")?.1.split(')').next()?.parse().ok()?;
    let curl = line.split_once(") ").map_or("", |(_, rest)| rest.split(" [").next().unwrap_or(rest));
    let is_certificate = matches!(number, 35 | 51 | 58 | 60 | 77 | 83) || detail.to_lowercase().contains("certificate");
    let host =
        channel::shown(&url).split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default().to_owned();
    let why = match number {
        6 => format!("the name '{host}' cannot be resolved"),
        7 => format!("nothing answers at '{host}'"),
        18 | 56 => "the transfer broke off".into(),
        28 => format!("'{host}' did not answer in time"),
        37 => "there is no such file".into(),
        _ if is_certificate => "the certificate of the server is not trusted".into(),
        _ => format!("{curl}: {detail}").trim_end_matches(": ").to_lowercase(),
    };
    Some(Unreached { url, status: None, why: visible(&why), is_certificate })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{self, Record};

    fn of(record: &Record) -> MambaError {
        MambaError::of(record.exit, record.stderr.as_bytes(), record.stdout.as_bytes())
    }

    #[test]
    fn every_failure_on_record_is_told_apart() {
        let network = |cause: &Cause| matches!(cause, Cause::Network(_));
        type Check<'a> = &'a dyn Fn(&Cause) -> bool;
        let is = |wanted: Cause| move |cause: &Cause| *cause == wanted;
        let [full, damage, unsolvable] = [Cause::Full, Cause::Damage, Cause::Unsolvable].map(is);
        let index = |cause: &Cause| *cause == Cause::BrokenIndex;
        // The file, a part of the title, and what it is.
        let cases: [(&str, &str, Check<'_>); 26] = [
            ("solve-missing-version", "", &unsolvable),
            ("solve-missing-package", "", &unsolvable),
            ("solve-conflict", "", &unsolvable),
            ("solve-nested-missing", "", &unsolvable),
            ("solve-offline", "nothing in the cache", &unsolvable),
            ("solve-unreachable", "HTML page", &unsolvable),
            ("solve-unreachable", "connection refused", &network),
            ("solve-unreachable", "40", &network),
            ("solve-unreachable", "500", &network),
            ("solve-unreachable", "does not resolve", &network),
            ("solve-unreachable", "the same with --repodata-ttl 0", &network),
            ("fetch-bad-package", "one bit changed", &damage),
            ("fetch-bad-package", "Content-Length of the half", &damage),
            ("fetch-bad-package", "an HTML page", &damage),
            ("fetch-bad-package", "then the end", &network),
            ("fetch-bad-package", "404", &network),
            ("fetch-bad-package", "500", &network),
            ("fetch-bad-package", "connection refused", &network),
            ("json-failures", "package 404", &network),
            ("json-failures", "wrong hash", &damage),
            ("json-failures", "refused", &network),
            ("disk-full", "Step::Fetch", &full),
            ("disk-full", "python does not fit", &full),
            ("disk-full", "index does not fit", &index),
            ("link-missing", "one of two", &network),
            ("search", "unreachable", &network),
        ];
        for (file, title, check) in cases {
            let records = records::read(file);
            let failed: Vec<_> =
                records.iter().filter(|one| one.exit != Some(0) && one.title.contains(title)).collect();
            assert!(!failed.is_empty(), "{file} {title}");
            for record in failed {
                let error = of(record);
                assert!(check(&error.cause), "{file} {}: {:?}", record.title, error.cause);
            }
        }
        assert_eq!(of(&records::read("version")[1]).cause, Cause::Version);
    }

    #[test]
    fn lines_are_those_that_matter() {
        for file in ["fetch-bad-package", "solve-unreachable", "disk-full", "link-missing", "json-failures"] {
            for record in records::read(file).iter().filter(|record| record.exit == Some(1)) {
                let text = of(record).to_string();
                for word in ["mamba clean", "issue tracker", "Retrying", "lockfile", "Transaction\n", "rolled back"] {
                    assert!(!text.contains(word), "{file} {}: {text}", record.title);
                }
                // Its JSON is never shown. A sentence of it may have a brace in it, as one on an index that was cut off does.
                assert!(!text.lines().any(|line| line.trim_start().starts_with(['{', '}'])), "{file}: {text}");
                assert!(!text.is_empty(), "{file} {}", record.title);
            }
        }
    }

    #[test]
    fn a_server_is_named_with_its_reason() {
        let of = |file: &str, title: &str| match of(records::find(file, title)).cause {
            Cause::Network(unreached) => unreached,
            other => panic!("{other:?}"),
        };
        let refused = of("solve-unreachable", "connection refused");
        assert_eq!(refused.url, "http://127.0.0.1:CLOSED/channel/noarch/repodata.json");
        assert_eq!(refused.why, "nothing answers at '127.0.0.1:CLOSED'");
        assert_eq!(of("solve-unreachable", "403 for everything").status, Some(403));
        let broken = of("fetch-bad-package", "then the end");
        assert!(broken.why.contains("broke off") && broken.status.is_none());
        assert!(of("fetch-bad-package", "500").is_transient() && !of("fetch-bad-package", "404").is_transient());
    }

    #[test]
    fn words_of_earlier_versions() {
        let cause = |text: &str| MambaError::of(Some(1), text.as_bytes(), b"").cause;
        assert!(matches!(cause("Download error (28) Timeout was reached [https://x/y]"), Cause::Network(_)));
        assert_eq!(cause("File not valid: SHA256 sum doesn't match expectation"), Cause::Damage);
        assert_eq!(cause("Cannot find a valid extracted directory cache for x"), Cause::Damage);
        let certificate = "critical libmamba Download error (60) SSL peer certificate or SSH remote key was not OK [https://me:secret@h/c/noarch/repodata.json]\n    SSL certificate problem";
        let error = MambaError::of(Some(1), certificate.as_bytes(), b"");
        assert!(matches!(&error.cause, Cause::Network(unreached) if unreached.is_certificate));
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
