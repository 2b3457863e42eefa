//! What the install commands fetched, for a machine without a network: pip's packages as wheels, npm's cache.
//!
//! pip's own cache does not do: it asks the index again, which is not there. So pip makes a wheel of each package that is
//! installed, inside the sandbox, mostly from its cache. `sbox build --offline` offers them to the same commands.

use libsbox::config::Config;
use libsbox::dir::Dir;
use libsbox::error::{Context, Result};
use libsbox::escape::visible;
use libsbox::output;
use libsbox::plumbing;
use libsbox::plumbing::sandbox::ProjectSandbox;
use libsbox::project::{Project, WHEELS};
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

/// Where npm keeps what it fetched, below the agent's home.
const NPM: &str = ".npm/_cacache";

/// Makes the wheels; names the packages of which none can be had. What the index does not have (the project itself) is
/// looked for one by one, so that it keeps no other back.
const SCRIPT: &str = r#"
mkdir -p "$1" && cd "$1" || exit 1
pip list --format=freeze --exclude-editable --exclude pip >.installed 2>/dev/null || exit 1
[ -s .installed ] || exit 0
pip wheel -q --no-deps -w . -r .installed >/dev/null 2>&1 && exit 0
while read -r package; do
    pip wheel -q --no-deps -w . "$package" >/dev/null 2>&1 </dev/null || echo "$package"
done <.installed
"#;

/// Has pip make its wheels, if an install command uses it.
pub fn collect(project: &Project, config: &Config) -> Result<()> {
    let uses_pip = config.install.iter().any(|command| command.contains("pip"));
    if !uses_pip || !project.env().join("bin/pip").exists() {
        return Ok(());
    }
    libsbox::trust::require(project, config)?;
    let mut config = config.clone();
    config.ports.clear();
    let inside = libsbox::built::Built::seen_from_inside(project).home().join(WHEELS);
    let words: [OsString; 5] = ["/bin/sh".into(), "-c".into(), SCRIPT.into(), "sh".into(), inside.into()];
    let mut prepared = ProjectSandbox::new(project, &config).command("/", &words)?;
    plumbing::trace(&prepared.command);
    let command = plumbing::die_with_parent(&mut prepared.command).stdin(Stdio::null()).stderr(Stdio::inherit());
    let made = command.output().context(|| "start 'sbox-spawn'".into())?;
    let missing = String::from_utf8_lossy(&made.stdout).into_owned();
    // Those come with the runtime, and an index that is a company's own may lack them.
    let is_own = |package: &&str| package.starts_with("setuptools==") || package.starts_with("wheel==");
    for package in missing.lines().filter(|package| !is_own(package)).take(20) {
        output::warn(format_args!("'{}' cannot be fetched as a wheel: it is not in the archive", visible(package)));
    }
    if !made.status.success() {
        output::warn(format_args!("pip cannot say what is installed: its packages are not in the archive"));
    }
    Ok(())
}

/// The places in the root file system that stay out though what was fetched is wanted: `caches` without it.
pub fn skipped(project: &Project, caches: &[&str]) -> Vec<String> {
    let kept = [WHEELS, NPM].map(|below| Path::new("home").join(below));
    let mut skipped = Vec::new();
    for cache in caches {
        let Some(kept) = kept.iter().find(|kept| kept.starts_with(cache)) else {
            skipped.push((*cache).to_owned());
            continue;
        };
        // All around it. An agent may have made anything there: nothing is followed.
        let entries = Dir::open(&project.rootfs()).and_then(|rootfs| rootfs.sub(cache)).and_then(|dir| dir.entries());
        let places = entries.unwrap_or_default().into_iter().map(|entry| Path::new(cache).join(entry.name));
        skipped.extend(
            places
                .filter(|place| !kept.starts_with(place))
                .filter_map(|place| place.into_os_string().into_string().ok()),
        );
    }
    skipped
}
