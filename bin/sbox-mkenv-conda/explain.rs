//! micromamba's failures in sentences that say what to change.

use crate::channel;
use crate::indexes;
use crate::mamba_error::{Cause, MambaError, Unreached};
use crate::micromamba::{Micromamba, Step};
use crate::problem::{self, Problem, Spec};
use libsbox::cache::version_key;
use libsbox::error::{Error, Kind};
use libsbox::escape::visible;
use libsbox::format;
use libsbox::provider::cannot;
use serde_json::Value;
use std::time::Duration;

/// How many versions are named.
const NAMED: usize = 12;

/// Why packages could not be chosen.
pub fn solving(mamba: &Micromamba, error: &MambaError, specs: &[String], offline: bool) -> Error {
    if error.cause != Cause::Unsolvable {
        return general(mamba, error);
    }
    // What is not an index is an empty one for micromamba, and then nothing exists.
    if let Some(error) = not_an_index(mamba, offline) {
        return error;
    }
    // Only without --json does it say of what it speaks.
    let step = if offline { Step::ChooseOffline } else { Step::Choose };
    let failure = match mamba.run(step, &["--dry-run"], specs) {
        Err(failure) => failure,
        Ok(_) => return cannot("the packages could not be chosen at first, and now they can: run it again"),
    };
    if failure.cause != Cause::Unsolvable {
        return general(mamba, &failure);
    }
    let tree = failure.tree();
    match problem::read(&tree) {
        Some(problems) => {
            cannot(problems.iter().map(|one| sentence(mamba, one, offline)).collect::<Vec<_>>().join("\n"))
        }
        None if tree.is_empty() => cannot(format!("the packages cannot be installed together:\n{failure}")),
        None => cannot(format!("the packages cannot be installed together:\n{}", problem::drawn(&tree))),
    }
}

fn not_an_index(mamba: &Micromamba, offline: bool) -> Option<Error> {
    let channels = mamba.addresses();
    if let Some((address, what)) = indexes::strange(&mamba.cache, &channels) {
        let message = format!("channel '{address}' answers with {what} in place of an index");
        return Some(cannot(format!(
            "{message}\ncheck the address under 'channels', and whether the network asks for a login"
        )));
    }
    if !offline || mamba.has_index() {
        return None;
    }
    let shown: Vec<String> = channels.iter().map(|channel| channel::shown(channel)).collect();
    Some(cannot(format!(
        "nothing is known of channel {} yet, and nothing is fetched (--offline)\nbuild once without --offline",
        quoted(&shown)
    )))
}

fn quoted(items: &[String]) -> String {
    items.iter().map(|item| format!("'{}'", visible(item))).collect::<Vec<_>>().join(", ")
}

fn sentence(mamba: &Micromamba, problem: &Problem, offline: bool) -> String {
    let there_is = |spec: &Spec| match versions(mamba, &spec.name, offline) {
        Some(versions) if !versions.is_empty() => format!("; they have {}", visible(&versions.join(", "))),
        _ => String::new(),
    };
    let text = match problem {
        Problem::Missing(spec) => match versions(mamba, &spec.name, offline) {
            Some(versions) if versions.is_empty() => {
                format!("the channels have no package '{}': is the name right, and the channel?", spec.name)
            }
            Some(versions) => format!("the channels do not have '{spec}'; they have {}", versions.join(", ")),
            None => format!("the channels do not have '{spec}'"),
        },
        Problem::NeedsMissing { package, needs } => {
            format!("'{package}' needs {needs}, which the channels do not have{}", there_is(needs))
        }
        Problem::NeedsSystem { package, needs } => {
            format!("'{package}' needs {needs} of the machine, which this one does not have")
        }
        Problem::Clash(first, second) => {
            format!("the packages cannot be installed together: {}", problem::clash(first, second))
        }
    };
    visible(&text)
}

/// Why packages could not be fetched or linked.
pub fn fetching(mamba: &Micromamba, error: &MambaError) -> Error {
    match &error.cause {
        Cause::Damage => {
            cannot(format!("a package is not what its hash says, and was not when it was fetched again:\n{error}"))
        }
        Cause::Unchecked => cannot(format!("a package cannot be checked:\n{error}")),
        _ => general(mamba, error),
    }
}

pub fn linking(mamba: &Micromamba, error: &MambaError) -> Error {
    match &error.cause {
        // It has no network: what it would fetch is what it did not find.
        Cause::Network(unreached) => {
            let file = unreached.url.rsplit('/').next().unwrap_or_default();
            Error::new(format!("'{}' vanished from the package cache", visible(file))).hint("run the build again")
        }
        Cause::TooLong(limit) => {
            let message =
                format!("linking was not done in {}: does a script of a package hang?", format::span(limit.as_secs()));
            Error::new(message).hint("SBOX_LINK_TIMEOUT=SECONDS gives it longer")
        }
        _ => general(mamba, error),
    }
}

pub fn general(mamba: &Micromamba, error: &MambaError) -> Error {
    match &error.cause {
        Cause::Full => full(mamba),
        Cause::Network(unreached) => network(unreached),
        Cause::BadSpec => cannot(format!("a package is not written as conda writes it:\n{error}")),
        Cause::Version => cannot(format!("this micromamba is not one that sbox can use (1.5 and later):\n{error}")),
        Cause::Silent(waited) => silent(mamba, *waited),
        Cause::BrokenIndex => cannot(format!("the index of a channel cannot be read:\n{error}")),
        _ => cannot(format!("micromamba failed:\n{error}")),
    }
}

fn full(mamba: &Micromamba) -> Error {
    let message = format!("there is no room for the packages in '{}'", visible(&mamba.cache.dir.to_string_lossy()));
    Error::of(Kind::Failure, message)
        .hint("free some space, or move the cache: SBOX_CACHE=/elsewhere; sbox cache clean --all empties it")
}

fn silent(mamba: &Micromamba, waited: Duration) -> Error {
    let shown: Vec<String> = mamba.addresses().iter().map(|channel| channel::shown(channel)).collect();
    cannot(format!(
        "channel {} sent nothing for {}\nSBOX_CHANNEL_TIMEOUT=SECONDS waits longer; a mirror is used with 'channels: [https://mirror/...]'",
        quoted(&shown),
        format::span(waited.as_secs())
    ))
}

pub fn network(unreached: &Unreached) -> Error {
    let url = visible(&unreached.url);
    let is_package = url.ends_with(".conda") || url.ends_with(".tar.bz2");
    let channel =
        url.rsplit_once('/').and_then(|(subdir, _)| subdir.rsplit_once('/')).map_or(&*url, |(channel, _)| channel);
    let what = if is_package { &*url } else { channel };
    let why = match unreached.status {
        Some(status @ (401 | 403)) => format!("the server does not allow it ({status})"),
        Some(404) if is_package => "the server no longer has it (404)".into(),
        Some(404) => "the server has no channel there (404)".into(),
        Some(status) if status >= 500 => format!("the server failed ({status})"),
        Some(status) => format!("the server answered {status}"),
        None => unreached.why.clone(),
    };
    let hint = match unreached.status {
        _ if unreached.is_certificate => {
            "a company's own authority is looked for in the system's store, or named by SSL_CERT_FILE"
        }
        Some(404) if is_package => "sbox build --update chooses packages that are there",
        Some(401 | 403) => {
            "an address may have a password: https://USER:PASSWORD@HOST/..., or a token: https://HOST/t/TOKEN/..."
        }
        Some(404) => "check the address under 'channels'",
        _ => {
            "a mirror is used with 'channels: [https://mirror/...]', or SBOX_CHANNEL_ALIAS for names; a proxy with https_proxy"
        }
    };
    let kind = if is_package { "package" } else { "channel" };
    cannot(format!("cannot reach {kind} '{what}': {why}\n{hint}"))
}

/// The versions of a package that the channels have, newest first; nothing if they cannot be asked.
fn versions(mamba: &Micromamba, name: &str, offline: bool) -> Option<Vec<String>> {
    let args: &[&str] = if offline { &["--json", "--offline"] } else { &["--json"] };
    let answer = mamba.run(Step::Search, args, &[name.to_owned()]).ok()?;
    let answer: Value = serde_json::from_slice(&answer).ok()?;
    let mut versions: Vec<String> = answer["result"]["pkgs"]
        .as_array()?
        .iter()
        .filter_map(|package| Some(package["version"].as_str()?.to_owned()))
        .collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version_key(version)));
    versions.dedup();
    let more = versions.len().saturating_sub(NAMED);
    versions.truncate(NAMED);
    versions.extend((more > 0).then(|| format!("and {more} older ones")));
    Some(versions)
}
