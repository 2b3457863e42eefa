//! `--probe`: what this host can give, found out by trying; and the words for what it refuses.

use crate::args::{Args, Level};
use libsbox::cli;
use libsbox::error::{Error, Kind, Result, reason};
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
    libsbox::sys::block(&crate::init::awaited()).map_err(|error| Error::new(reason(&error)))?;
    let sandbox = crate::Sandbox { args, environment: Vec::new(), ops, own_text: Vec::new() };
    let mut verdict = crate::report::Verdict::new(true)?;
    let exit = crate::Exit { exec: None, verdict: verdict.writer() };
    let launched = crate::namespaces::launch(&sandbox, &exit)?;
    drop(exit);
    match (crate::wait(&launched)?, verdict.read()) {
        (0, _) => Ok(()),
        (_, Some(lack)) => Err(lack),
        (code, None) => {
            Err(Error::new(format!("the sandbox could not be made (exit code {code}); the reason is above")))
        }
    }
}

/// Why the kernel refused a user namespace, and the narrow way to allow it.
pub fn no_namespaces(error: &std::io::Error) -> Error {
    let setting = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let is = |path: &str, value: &str| setting(path).as_deref() == Some(value);
    let message = format!("cannot make namespaces: {}", reason(error));
    let hint = if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor restricts user namespaces on this host: an administrator can add a profile for sbox-spawn that has the line 'userns,'"
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "an administrator can allow user namespaces: sysctl kernel.unprivileged_userns_clone=1"
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "an administrator can allow user namespaces: sysctl user.max_user_namespaces=15000"
    } else {
        "this host, or the container it is, forbids unprivileged user namespaces; nothing was run"
    };
    Error::of(Kind::Unavailable, message).hint(hint)
}
