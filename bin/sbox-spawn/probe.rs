//! `--probe`: what this host can give, found out by trying.

use crate::args::{Args, Level};
use crate::report::{FailurePipes, UnavailablePipe};
use crate::sandbox::Sandbox;
use libsbox::cli;
use libsbox::error::{Error, Result};
use serde_json::json;

/// Makes a whole sandbox, ends it before it runs anything, and prints what came of it.
pub fn run(args: Args) -> Result<u8> {
    let asked = args.isolation;
    let namespace = try_namespace(args);
    let version = crate::landlock::version();
    let level = match (asked, &namespace) {
        (Some(Level::Env), _) => Some(Level::Env),
        (None | Some(Level::Namespace), Ok(())) => Some(Level::Namespace),
        (Some(Level::Namespace), Err(_)) => None,
        (_, _) if version > 0 => Some(Level::Landlock),
        (Some(_), _) => None,
        (None, _) => Some(Level::Env),
    };
    let (reason, hint) = match &namespace {
        Ok(()) => (None, None),
        Err(error) => (Some(error.to_string()), error.hint_text()),
    };
    cli::out_line(json!({
        "level": level.map_or("none", Level::name),
        "namespace": namespace.is_ok(),
        "landlock": version,
        "limits": if crate::cgroup::own().is_some_and(|(_, could)| could) { "cgroup" } else { "rlimit" },
        "reason": reason,
        "hint": hint,
    }))?;
    Ok(u8::from(level.is_none()))
}

fn try_namespace(args: Args) -> Result<()> {
    let ops = crate::plan::build(&args, "/home".as_ref(), &crate::guard::Guard::look(&args)?)?;
    crate::signals::block()?;
    let sandbox = Sandbox::for_a_trial(args, ops);
    let mut unavailable = UnavailablePipe::new(true)?;
    let failure = FailurePipes { exec: None, unavailable: unavailable.writer() };
    let launched = crate::namespaces::launch(&sandbox, &failure)?;
    drop(failure);
    match (crate::signals::wait_for_end(launched.init)?, unavailable.read()) {
        (0, _) => Ok(()),
        (_, Some(lack)) => Err(lack),
        (code, None) => {
            Err(Error::new(format!("the sandbox could not be made (exit code {code}); the reason is above")))
        }
    }
}
