//! `--probe`: what this host can give, found out by trying.

use crate::args::{Args, Level, Mount};
use crate::layer::{self, Layer};
use crate::recorder::Recorder;
use crate::report::{FailurePipes, UnavailablePipe};
use crate::sandbox::Sandbox;
use libsbox::cli;
use libsbox::error::{Error, Result};
use serde_json::json;

/// Makes a whole sandbox, ends it before it runs anything, and prints what came of it.
pub fn run(args: Args) -> Result<u8> {
    let asked = args.isolation;
    let (namespace, overlay) = try_both(args);
    let version = crate::unavailable::landlock_version();
    let level = match (asked, &namespace) {
        (Some(Level::Env), _) => Some(Level::Env),
        (None | Some(Level::Namespace), Ok(())) => Some(Level::Namespace),
        (Some(Level::Namespace), Err(_)) => None,
        (None, Err(_)) if crate::identity::is_real_root() => None,
        (_, _) if version > 0 => Some(Level::Landlock),
        (Some(_), _) => None,
        (None, _) => Some(Level::Env),
    };
    let (reason, hint) = match &namespace {
        Ok(()) => (None, None),
        Err(error) => (Some(error.to_string()), error.hint_text()),
    };
    let mut said = json!({
        "level": level.map_or("none", Level::name),
        "namespace": namespace.is_ok(),
        "landlock": version,
        "limits": if crate::cgroup::is_delegated() { "cgroup" } else { "rlimit" },
        "reason": reason,
        "hint": hint,
    });
    if let Some(overlay) = overlay {
        said["cow"] = if overlay.is_ok() { "overlay" } else { "unavailable" }.into();
        said["cow_reason"] = overlay.err().map(|error| error.to_string()).into();
    }
    cli::out_line(said)?;
    Ok(u8::from(level.is_none()))
}

/// Whether there are namespaces, and, where a mount is copy-on-write, whether it can be had in them.
fn try_both(args: Args) -> (Result<()>, Option<Result<()>>) {
    if !args.needs_overlay() {
        return (try_namespace(args), None);
    }
    let _layers = match Layer::lock_all(&args) {
        // Another sandbox has it, and a second mount would take it away from that one.
        Ok(layers) if layers.iter().any(|layer| layer.shared.is_some()) => return (Ok(()), Some(Ok(()))),
        Ok(layers) => layers,
        Err(error) => return (Ok(()), Some(Err(error))),
    };
    let mut without = args.clone();
    without.mounts.retain(|mount| !matches!(mount, Mount::Cow { .. }));
    without.own_overlays.clear();
    match try_namespace(args) {
        Ok(()) => (Ok(()), Some(Ok(()))),
        Err(error) => (try_namespace(without), Some(Err(error))),
    }
}

fn try_namespace(args: Args) -> Result<()> {
    let ops = crate::plan::build(&args, "/home".as_ref(), &crate::protect::Protection::look(&args)?)?;
    crate::line::block()?;
    let sandbox = Sandbox::for_a_trial(args, ops, layer::clock());
    let mut unavailable = UnavailablePipe::new(true)?;
    let failure = FailurePipes { exec: None, unavailable: unavailable.writer(), hears_calls: false, tells_all: true };
    let launched = crate::namespaces::launch(&sandbox, failure)?;
    let terminal = crate::terminal::Terminal::remember();
    let monitor = crate::signals::Monitor {
        child: launched.init,
        line: launched.line.as_ref(),
        witness: None,
        terminal: &terminal,
    };
    match (monitor.wait(&mut Recorder::none(), || None)?.code, unavailable.read()) {
        (0, _) => Ok(()),
        (_, Some(lack)) => Err(lack),
        (code, None) => {
            Err(Error::new(format!("the sandbox could not be made (exit code {code}); the reason is above")))
        }
    }
}
