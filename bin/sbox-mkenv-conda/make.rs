//! The steps of a build: choose, fetch, link.
//!
//! The package cache is locked while packages are chosen and fetched: several micromambas with one cache break each other's
//! downloads (mamba issue 2279). It is not while they are linked: that runs scripts, and takes as long as they like.

use crate::mamba_error::{Cause, MambaError};
use crate::micromamba::{Micromamba, Step};
use crate::{channel, explain, finish, list, patience, reach, scripts};
use libsbox::cache;
use libsbox::error::Result;
use libsbox::fs;
use libsbox::lockfile::Package;
use libsbox::output;
use libsbox::provider::{Request, cannot};
use std::path::PathBuf;
use std::time::Duration;

/// What was made.
pub struct Made {
    /// Without passwords in their addresses.
    pub packages: Vec<Package>,
    /// The path that is written in the files.
    pub prefix: PathBuf,
}

pub fn make(mamba: &Micromamba, request: &Request, specs: &[String]) -> Result<Made> {
    let packages = fetched(mamba, request, specs, None)?;
    let linked = link(mamba, &packages);
    if let Err(MambaError { cause: Cause::Network(_) | Cause::Damage, .. }) = &linked {
        // Another build removed something in the meantime, or somebody did.
        mamba.start_again()?;
        fetched(mamba, request, specs, Some(&packages))?;
        link(mamba, &packages).map_err(|error| explain::linking(mamba, &error))?;
    } else {
        linked.map_err(|error| explain::linking(mamba, &error))?;
    }
    finish::finish(mamba, &packages)?;
    Ok(Made { packages, prefix: mamba.prefix() })
}

/// How far the packages have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown,
    /// They could not be fetched, and another try may do.
    Failed,
    /// All are in the cache, and checked.
    Here,
}

/// The packages that were asked for, chosen if nobody said which, and all in the cache.
fn fetched(mamba: &Micromamba, request: &Request, specs: &[String], known: Option<&[Package]>) -> Result<Vec<Package>> {
    let _lock = cache::lock_packages(|| output::info("waiting for another build to leave the package cache"))?;
    // `sbox cache clean` may have moved it away while this waited.
    fs::make_dirs(&mamba.cache.dir)?;
    let locked = match (known, &request.lock) {
        (Some(packages), _) => Some(packages.to_vec()),
        (None, Some(file)) => Some(list::locked(file, &request.channels)?),
        (None, None) => None,
    };
    let (packages, state) = match locked {
        None if request.offline => (choose_offline(mamba, request, specs)?, State::Unknown),
        None => choose_and_fetch(mamba, request, specs)?,
        Some(packages) => (packages, State::Unknown),
    };
    if request.offline {
        nothing_is_missing(mamba, &packages)?;
    }
    if state != State::Here {
        fetch(mamba, request, &packages, state).map_err(|error| explain::fetching(mamba, &error))?;
    }
    mamba.cache.hide_secrets(&packages)?;
    Ok(packages)
}

fn choose_offline(mamba: &Micromamba, request: &Request, specs: &[String]) -> Result<Vec<Package>> {
    let answer = mamba.run(Step::ChooseOffline, &["--dry-run", "--json"], specs);
    let answer = answer.map_err(|error| explain::solving(mamba, &error, specs, true))?;
    some(list::chosen(&answer, &request.channels)?)
}

/// Chooses packages and fetches them, in one run if all goes well.
fn choose_and_fetch(mamba: &Micromamba, request: &Request, specs: &[String]) -> Result<(Vec<Package>, State)> {
    if let Err(error) = reach::check(&mamba.addresses()) {
        return without_network(mamba, request, specs, &error).map(|packages| (packages, State::Unknown));
    }
    let mut args = vec!["--json"];
    // Otherwise it answers from an index that it fetched within the hour.
    args.extend(request.update.then_some(["--repodata-ttl", "0"]).into_iter().flatten());
    let mut result = mamba.run(Step::Fetch, &args, specs);
    if result.as_ref().is_err_and(|error| error.cause == Cause::BrokenIndex) {
        crate::indexes::forget_broken(&mamba.cache);
        result = mamba.run(Step::Fetch, &args, specs);
    }
    match result {
        Ok(answer) => {
            let packages = some(list::chosen(&answer, &request.channels)?)?;
            let state = if mamba.cache.verify(&packages).is_ok() { State::Here } else { State::Unknown };
            Ok((packages, state))
        }
        Err(error) if error.cause == Cause::Unsolvable => Err(explain::solving(mamba, &error, specs, false)),
        Err(error) => {
            // It knew which packages, and could not fetch them all: with a list it says more, and another try may do.
            let packages = list::chosen(&error.answer, &request.channels).unwrap_or_default();
            let may_do = !packages.is_empty() && try_again(&error);
            if may_do { Ok((packages, State::Failed)) } else { Err(explain::general(mamba, &error)) }
        }
    }
}

/// Whether another try may do better; says so, and waits as long as that takes.
fn try_again(error: &MambaError) -> bool {
    match &error.cause {
        Cause::Damage | Cause::Unchecked => output::info("a package is damaged: it is fetched again"),
        Cause::Network(unreached) if unreached.is_transient() && !patience::is_short() => {
            output::info("the server failed; trying again in 2 s");
            std::thread::sleep(Duration::from_secs(2));
        }
        _ => return false,
    }
    true
}

/// Chooses from what is known of a channel that cannot be reached, if anything is.
fn without_network(
    mamba: &Micromamba,
    request: &Request,
    specs: &[String],
    error: &MambaError,
) -> Result<Vec<Package>> {
    let refusal = explain::general(mamba, error);
    if request.update || !mamba.has_index() {
        return Err(refusal);
    }
    let answer = mamba.run(Step::ChooseOffline, &["--dry-run", "--json"], specs);
    let Some(packages) = answer.ok().and_then(|answer| list::chosen(&answer, &request.channels).ok()) else {
        return Err(refusal);
    };
    if packages.is_empty() || !packages.iter().all(|package| mamba.cache.has(package)) {
        return Err(refusal);
    }
    let why = refusal.to_string();
    output::warn(format_args!("{}", why.lines().next().unwrap_or_default()));
    output::info("the packages are chosen from what was fetched before");
    Ok(packages)
}

fn some(packages: Vec<Package>) -> Result<Vec<Package>> {
    if packages.is_empty() { Err(cannot("micromamba did not say which packages it chose")) } else { Ok(packages) }
}

/// Fetches packages of a list. What turns out to be damaged is removed and fetched again, once; a server that failed is
/// asked again, once.
fn fetch(mamba: &Micromamba, request: &Request, packages: &[Package], state: State) -> Result<(), MambaError> {
    let is_here = packages.iter().all(|package| mamba.cache.has(package));
    // Nobody is asked for what is here: damage is repaired from the archives, as far as they are.
    let step = if is_here || request.offline { Step::Repair } else { Step::Fetch };
    let list = mamba.explicit(&channel::with_passwords(packages, &request.channels))?;
    let once = |step: Step| -> Result<(), MambaError> {
        if step == Step::Fetch {
            let servers: Vec<String> = packages.iter().map(|package| package.url.clone()).collect();
            reach::check(&servers)?;
        }
        mamba.run(step, &["--file", &list], &[])?;
        mamba.cache.verify(packages)
    };
    let Err(error) = once(step) else { return Ok(()) };
    match &error.cause {
        _ if request.offline || state == State::Failed => return Err(error),
        // Without a network it could not fetch what it found to be damaged.
        Cause::Network(_) if step == Step::Repair => output::info("a package is damaged: it is fetched again"),
        _ if !try_again(&error) => return Err(error),
        Cause::Damage | Cause::Unchecked => mamba.cache.forget(packages, &error.words)?,
        _ => {}
    }
    once(Step::Fetch)
}

/// Lists what an offline build would have to fetch.
fn nothing_is_missing(mamba: &Micromamba, packages: &[Package]) -> Result<()> {
    let missing: Vec<String> = packages
        .iter()
        .filter(|package| !mamba.cache.has(package))
        .map(|package| {
            format!("missing in the cache: {} {} ({})", package.name, package.version, channel::shown(&package.url))
        })
        .collect();
    let count = match missing.len() {
        0 => return Ok(()),
        1 => "1 package is".to_owned(),
        count => format!("{count} packages are"),
    };
    Err(cannot(format!("nothing is fetched (--offline), and {count} not in the cache\n{}", missing.join("\n"))))
}

fn link(mamba: &Micromamba, packages: &[Package]) -> Result<(), MambaError> {
    // Where secrets are not needed they are not: what is written here becomes a part of the environment.
    let list = mamba.explicit(&channel::without_passwords(packages.to_vec()))?;
    let scripts = scripts::prepare(mamba, packages)?;
    mamba.link(&list, &scripts)?;
    Ok(scripts::finish(mamba, &scripts)?)
}
