//! sbox-mkenv-conda: provide runtimes and packages from conda channels, through micromamba.
//!
//! micromamba runs in a sandbox of its own and in three steps: it chooses the packages; it fetches them; it links them.
//! Only the first two have a network, and only the last one runs code of packages, with the package cache read-only.
#![forbid(unsafe_code)]

mod channel;
mod explain;
mod finish;
mod micromamba;

use libsbox::cache;
use libsbox::cli::{self, Tool};
use libsbox::error::{Context, Error, Kind, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::lockfile::Package;
use libsbox::model::{Language, Runtime};
use libsbox::output;
use libsbox::plumbing;
use libsbox::provider::{Request, cannot};
use micromamba::{Micromamba, Step};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

const TOOL: Tool = Tool { name: "sbox-mkenv-conda", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-mkenv-conda [--resolve] [--channel C]... [--package P]...
                        [--lock FILE] [--offline] SPEC... [PREFIX]
Make the runtimes SPEC (python:3.12, node:22) at PREFIX, in one environment of
conda packages, and print JSON that describes it. Exit code 3: it is not
available this way, for the reason on stderr.

      --resolve      only make sure that there is a micromamba
      --channel C    use packages from C, a name or an address; can be repeated
                     [conda-forge]
      --package P    install P too; can be repeated
      --lock FILE    use exactly these packages: a JSON array of objects with
                     name, version, url, hash and md5
      --offline      use the package cache only
  -h, --help         print this text
  -V, --version      print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let request = Request::parse(args)?;
    let program = program(&request)?;
    match &request.prefix {
        Some(prefix) => make(&request, &program, prefix)?,
        // Which packages that are, only the channel knows; cached ones serve without asking.
        None => cli::out_line("{}")?,
    }
    Ok(0)
}

/// Where micromamba is, fetched if it has to be.
fn program(request: &Request) -> Result<PathBuf> {
    // A toolkit that was built without its feature "fetch" has the others.
    let mut command = plumbing::program("sbox-fetch-mamba").map_err(|error| cannot(error.to_string()))?;
    command.args(request.offline.then_some("--offline"));
    if is_hasty() {
        command.args(["--connect-timeout", "3", "--idle-timeout", "10", "--retries", "0"]);
    }
    plumbing::trace(&command);
    let output = plumbing::tie(&mut command).stdin(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.context(|| "start 'sbox-fetch-mamba'".into())?;
    if output.status.success() {
        let path = String::from_utf8_lossy(&output.stdout);
        return Ok(PathBuf::from(path.trim_end_matches('\n')));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().filter(|line| !line.starts_with("[INFO]"));
    let plain = |line: &str| line.trim_start_matches("[ERROR] sbox-fetch-mamba: ").trim_start().to_owned();
    Err(cannot(lines.map(plain).collect::<Vec<_>>().join("\n")))
}

/// Whether somebody else can serve, so that nobody waits long here.
pub fn is_hasty() -> bool {
    std::env::var_os("SBOX_PATIENCE").is_some_and(|value| value == "short")
}

/// What micromamba is asked for, in conda's words: with the package managers that belong to a runtime.
fn specs(request: &Request) -> Vec<String> {
    let of = |runtime: &Runtime| match runtime.language {
        Language::Python => [format!("python={}", runtime.version), "pip".into()],
        Language::Node => [format!("nodejs={}", runtime.version), "pnpm".into()],
    };
    request.runtimes.iter().flat_map(of).chain(request.packages.iter().cloned()).collect()
}

fn make(request: &Request, program: &Path, prefix: &Path) -> Result<()> {
    // One at a time: several micromambas with one package cache break each other's downloads (mamba issue 2279).
    let pkgs = cache::root()?.join("pkgs");
    fs::make_dirs(&pkgs)?;
    let _lock = fs::Lock::exclusive(&pkgs.join(".sbox.lock"), || {
        output::info("waiting for another build to leave the package cache");
    })?;
    let work = fs::beside(prefix, "conda");
    fs::remove_tree(&work)?;
    let made = make_in(request, program, prefix, &pkgs, &work);
    let _ = fs::remove_tree(&work);
    if made.is_err() {
        let _ = fs::remove_tree(prefix);
    }
    cli::out_line(made?)
}

fn make_in(request: &Request, program: &Path, prefix: &Path, pkgs: &Path, work: &Path) -> Result<Value> {
    let mamba = Micromamba::new(program, pkgs, work, &request.channels)?;
    let packages = match &request.lock {
        Some(list) => locked(list, &request.channels)?,
        None => solve(&mamba, request)?,
    };
    if request.offline {
        nothing_is_missing(&packages, pkgs)?;
    }
    let list = mamba.explicit(&channel::with_passwords(&packages, &request.channels))?;
    fetch_and_link(&mamba, &packages, pkgs, &list, request.offline)?;
    finish::finish(&mamba, &packages, pkgs)?;
    mamba.deliver(prefix)?;
    let versions = request.runtimes.iter().map(|runtime| version(runtime, &packages)).collect::<Result<Vec<_>>>()?;
    let packages = channel::without_passwords(packages);
    let sources = if request.channels.is_empty() { channel::DEFAULT.into() } else { request.channels.join(", ") };
    Ok(json!({
        "version": versions.join("+"),
        "versions": versions,
        "source": channel::shown(&sources),
        "fingerprint": cache::fingerprint(&cache::request(&request.runtimes, &request.channels, &request.packages), &packages),
        "prefix": mamba.prefix(),
        "packages": packages,
    }))
}

/// The version of the package that is the runtime.
fn version(runtime: &Runtime, packages: &[Package]) -> Result<String> {
    let name = if runtime.language == Language::Python { "python" } else { "nodejs" };
    let found = packages.iter().find(|package| package.name == name).map(|package| package.version.clone());
    found.ok_or_else(|| Error::new(format!("there is no '{name}' among the packages")))
}

/// Has micromamba choose packages.
fn solve(mamba: &Micromamba, request: &Request) -> Result<Vec<Package>> {
    let specs = specs(request);
    let step = if request.offline { Step::ChooseOffline } else { Step::Choose };
    let output = mamba.patiently(step, &["--dry-run", "--json"], &specs).map_err(|said| {
        if said.is_cut_off() && request.offline {
            return cannot("what the channels have is not in the cache, and nothing is fetched (--offline)");
        }
        explain::solving(mamba, &said, &specs)
    })?;
    let answer: Value = serde_json::from_slice(&output)
        .map_err(|error| Error::new(format!("micromamba's answer is no JSON object: {error}")))?;
    let linked = answer["actions"]["LINK"].as_array().into_iter().flatten();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let packages: Vec<Package> = linked
        .map(|value| Package {
            name: text(value, "name"),
            version: text(value, "version"),
            url: text(value, "url"),
            hash: value["sha256"]
                .as_str()
                .filter(|hash| !hash.is_empty())
                .map_or_else(String::new, |hash| format!("sha256:{hash}")),
            md5: text(value, "md5"),
        })
        .collect();
    match packages.is_empty() {
        true => Err(Error::new("micromamba did not say which packages it chose")),
        false => checked(packages, &request.channels),
    }
}

/// The packages of a lock. It may have come with an archive: what it names is fetched and run, if only in a sandbox.
fn locked(list: &Path, channels: &[String]) -> Result<Vec<Package>> {
    let text = std::fs::read(list).context(|| format!("read '{}'", escape::visible_path(list)))?;
    let packages: Vec<Package> =
        serde_json::from_slice(&text).map_err(|error| Error::new(format!("the list of packages is none: {error}")))?;
    checked(packages, channels)
}

/// Refuses what cannot be a line of a list of packages: each stands in a file that micromamba reads, and names files in
/// the cache.
fn checked(mut packages: Vec<Package>, channels: &[String]) -> Result<Vec<Package>> {
    let is_name = |text: &str| {
        !text.is_empty()
            && !text.starts_with(['.', '-'])
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+!=".contains(c))
    };
    let is_hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    for package in &packages {
        let is_url = ["https://", "http://", "file:///"].iter().any(|scheme| package.url.starts_with(scheme))
            && !package.url.chars().any(|c| c.is_whitespace() || c.is_control() || c == '#');
        let sha256 = package.hash.strip_prefix("sha256:").unwrap_or_default();
        if !is_url
            || !is_name(&package.name)
            || !finish::stem(package).is_some_and(is_name)
            || !is_hex(&package.md5, 32) && !is_hex(sha256, 64)
        {
            let shown = escape::visible(&format!("{} {}", package.name, channel::shown(&package.url)));
            return Err(Error::new(format!(
                "'{shown}' is no package that can be checked: it needs an address and a hash"
            )));
        }
    }
    channel::only_from(&packages, channels)?;
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

/// Lists what an offline build would have to fetch.
fn nothing_is_missing(packages: &[Package], pkgs: &Path) -> Result<()> {
    let missing: Vec<String> = packages
        .iter()
        .filter(|package| !finish::is_cached(package, pkgs))
        .map(|package| {
            format!("missing in the cache: {} {} ({})", package.name, package.version, channel::shown(&package.url))
        })
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(cannot(format!(
            "nothing is fetched (--offline), and {} packages are not here\n{}",
            missing.len(),
            missing.join("\n")
        ))),
    }
}

/// Fetches and links. If something in the cache turns out to be damaged, what is used of it is removed and fetched anew,
/// once.
fn fetch_and_link(mamba: &Micromamba, packages: &[Package], pkgs: &Path, list: &Path, offline: bool) -> Result<()> {
    let once = || -> Result<(), micromamba::Said> {
        let args = ["--file", &*list.to_string_lossy()];
        if !offline {
            mamba.patiently(Step::Fetch, &args, &[])?;
        }
        finish::verify(packages, pkgs)?;
        mamba.run(Step::Link, &args, &[]).map(drop)
    };
    let said = match once() {
        Ok(()) => return Ok(()),
        Err(said) => said,
    };
    if !said.is_damage() || offline {
        return Err(explain::linking(&said));
    }
    output::info("a package in the cache is damaged: all that are needed are fetched again");
    finish::forget(packages, pkgs)?;
    mamba.start_anew()?;
    once().map_err(|said| explain::linking(&said))
}

/// Something of the kind that another provider may not meet.
pub fn refusal(why: impl Into<String>) -> Error {
    Error::of(Kind::Unavailable, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, url: &str, md5: &str) -> Package {
        Package { name: name.into(), url: url.into(), md5: md5.into(), ..Package::default() }
    }

    #[test]
    fn a_hostile_list_is_refused() {
        let md5 = "0123456789abcdef0123456789abcdef";
        let good = package("x", "https://h/c/noarch/x-1-0.conda", md5);
        assert!(checked(vec![good], &["https://h/c".into()]).is_ok());
        for (name, url, md5) in [
            ("x", "https://h/c/noarch/x-1-0.conda", ""),
            ("../x", "https://h/c/noarch/x-1-0.conda", md5),
            ("x", "https://h/c/noarch/...conda", md5),
            ("x", "https://h/c/noarch/x.exe", md5),
            ("x", "https://h/c/noarch/x-1-0.conda\n@EXPLICIT", md5),
            ("x", "ftp://h/c/noarch/x-1-0.conda", md5),
            ("x", "https://other/c/noarch/x-1-0.conda", md5),
            ("x", "https://h/cc/noarch/x-1-0.conda", md5),
            ("x", "https://h/c/../../x-1-0.conda", md5),
        ] {
            assert!(checked(vec![package(name, url, md5)], &["https://h/c".into()]).is_err(), "{name} {url}");
        }
    }
}
