//! `--probe`: what this host can give, found out by trying; and the words for what it refuses.

use crate::args::Args;
use sbox::cli;
use sbox::error::{Error, Result, reason};
use serde_json::json;

/// Makes a whole sandbox, ends it before it runs anything, and prints what came of it.
pub fn run(args: Args) -> Result<u8> {
    let ops = crate::plan::build(&args, "/home".as_ref())?;
    let attempt = sbox::sys::block(&crate::init::awaited())
        .map_err(|error| Error::new(reason(&error)))
        .and_then(|()| crate::launch(args, Vec::new(), ops, None))
        .and_then(|launched| crate::wait(launched.init));
    let (works, why, fix) = match attempt {
        Ok(0) => (true, None, None),
        Ok(code) => {
            (false, Some(format!("the sandbox could not be made (exit code {code}); the reason is above")), None)
        }
        Err(error) => (false, Some(error.to_string()), error.hint_text().map(str::to_owned)),
    };
    let level = if works { "namespace" } else { "none" };
    cli::out_line(json!({"level": level, "namespace": works, "reason": why, "hint": fix}))?;
    Ok(u8::from(!works))
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
    Error::new(message).hint(hint)
}
