//! sbox-fetch-mamba: make sure that there is a micromamba, and print its path.
//!
//! One that the user placed comes first, then the cache, then a download. What is downloaded is not run here: it is
//! unpacked in this process, and appears in the cache whole or not at all.
#![forbid(unsafe_code)]

mod archive;
mod download;

use download::Source;
use lexopt::prelude::*;
use libsbox::cache;
use libsbox::cli::{self, Tool};
use libsbox::error::{Context, Error, Result};
use libsbox::escape::{shell_word, visible, visible_path};
use libsbox::fs;
use libsbox::output;
use libsbox::project::Project;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const TOOL: Tool = Tool { name: "sbox-fetch-mamba", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-fetch-mamba [--url URL] [--sha256 HEX] [--platform NAME] [--on-path]
                        [--json] [--offline | --print-url]
Make sure that there is a micromamba, and print its path. It is taken from
.sbox/bin/micromamba of the project or from the cache, or else downloaded.

      --url URL                  where to download it; '{platform}' in it is
                                 replaced [SBOX_MAMBA_URL]
      --sha256 HEX               accept only the program or download with this
                                 hash [SBOX_MAMBA_SHA256]
      --platform NAME            linux-64, linux-aarch64, linux-ppc64le, osx-64
                                 or osx-arm64 [this machine's]
      --on-path                  prefer one on PATH to a download
      --offline                  download nothing
      --json                     print a JSON object, {\"path\": ...}, or
                                 {\"refused\": ...} with the reason
      --connect-timeout SECONDS  how long to wait for a connection [10]
      --idle-timeout SECONDS     how long to wait for the next bytes [30]
      --retries N                how often to try again [3]
      --print-url                print the address of the download and end
  -h, --help                     print this text
  -V, --version                  print the version
";

/// Where micromamba's makers publish it (<https://mamba.readthedocs.io>, "Installing micromamba").
const OFFICIAL: &str = "https://micro.mamba.pm/api/micromamba/{platform}/latest";

/// The platforms for which there is one, as conda names them.
const PLATFORMS: [&str; 5] = ["linux-64", "linux-aarch64", "linux-ppc64le", "osx-64", "osx-arm64"];

fn main() -> ExitCode {
    TOOL.main(run)
}

#[derive(Default)]
struct Options {
    url: Option<String>,
    sha256: Option<String>,
    platform: Option<String>,
    on_path: bool,
    offline: bool,
    print_url: bool,
    json: bool,
    connect_timeout: Option<u64>,
    idle_timeout: Option<u64>,
    retries: Option<u64>,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let mut options = Options::default();
    while let Some(arg) = args.next()? {
        match arg {
            Long("url") => options.url = Some(args.value()?.string()?),
            Long("sha256") => options.sha256 = Some(args.value()?.string()?),
            Long("platform") => options.platform = Some(args.value()?.string()?),
            Long("on-path") => options.on_path = true,
            Long("offline") => options.offline = true,
            Long("print-url") => options.print_url = true,
            Long("json") => options.json = true,
            Long("connect-timeout") => options.connect_timeout = Some(args.value()?.parse()?),
            Long("idle-timeout") => options.idle_timeout = Some(args.value()?.parse()?),
            Long("retries") => options.retries = Some(args.value()?.parse()?),
            other => return Err(cli::common(other)),
        }
    }
    let wanted = Wanted::of(&options)?;
    if options.print_url {
        cli::out_line(&wanted.source.url)?;
        return Ok(0);
    }
    match ensure(&wanted, &options) {
        Ok(path) if options.json => cli::out_line(json!({"path": path.to_string_lossy()}))?,
        Ok(path) => cli::out_line(path.display())?,
        Err(error) if options.json => {
            let hint = error.hint_text().map(|hint| format!("\n{hint}")).unwrap_or_default();
            cli::out_line(json!({"refused": format!("{error}{hint}")}))?;
            return Ok(1);
        }
        Err(error) => return Err(error),
    }
    Ok(0)
}

/// What is looked for, and where it would come from.
struct Wanted {
    platform: String,
    /// Whether this machine can run it.
    is_ours: bool,
    source: Source,
}

impl Wanted {
    fn of(options: &Options) -> Result<Wanted> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let ours = this_platform();
        let platform = options.platform.clone().or_else(|| ours.map(Into::into)).ok_or_else(|| {
            Error::new("there is no micromamba for this machine").hint("provider: host or npm works without one")
        })?;
        if !PLATFORMS.contains(&platform.as_str()) {
            return Err(Error::usage(format!("there is no micromamba for '{}'", visible(&platform)))
                .hint(format!("it is there for {}", PLATFORMS.join(", "))));
        }
        let url = options.url.clone().or_else(|| variable("SBOX_MAMBA_URL")).unwrap_or_else(|| OFFICIAL.into());
        let sha256 = options.sha256.clone().or_else(|| variable("SBOX_MAMBA_SHA256")).map(|hex| hex.to_lowercase());
        if sha256.as_ref().is_some_and(|hex| !libsbox::fs::is_sha256(hex)) {
            return Err(Error::usage("a SHA-256 has 64 hexadecimal digits"));
        }
        let source = Source {
            url: url.replace("{platform}", &platform),
            sha256,
            connect: Duration::from_secs(options.connect_timeout.unwrap_or(10)),
            idle: Duration::from_secs(options.idle_timeout.unwrap_or(30)),
            retries: options.retries.unwrap_or(3),
        };
        let is_ours = Some(platform.as_str()) == ours;
        Ok(Wanted { platform, is_ours, source })
    }
}

/// This machine as conda names it.
fn this_platform() -> Option<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Some("linux-64"),
        ("linux", "aarch64") => Some("linux-aarch64"),
        ("linux", "powerpc64") => Some("linux-ppc64le"),
        ("macos", "x86_64") => Some("osx-64"),
        ("macos", "aarch64") => Some("osx-arm64"),
        _ => None,
    }
}

/// What the cache knows of its micromamba.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    url: String,
    /// Of what was downloaded.
    sha256: String,
}

fn ensure(wanted: &Wanted, options: &Options) -> Result<PathBuf> {
    let project = Project::find().ok();
    if let (true, Some(project)) = (wanted.is_ours, &project)
        && let Some(placed) = placed(project, wanted)?
    {
        return Ok(placed);
    }
    let bin = cache::root()?.join("bin");
    let name = if wanted.is_ours { "micromamba".into() } else { format!("micromamba-{}", wanted.platform) };
    let program = bin.join(&name);
    if is_served(&program, wanted) {
        return Ok(program);
    }
    if let (true, true, Some(found)) = (options.on_path, wanted.is_ours, on_path(wanted)) {
        return Ok(found);
    }
    if options.offline {
        let error = Error::new("there is no micromamba here, and nothing is downloaded (--offline)");
        return Err(error.hint(by_hand(wanted, project.as_ref())));
    }
    fs::make_dirs(&bin)?;
    let _lock = fs::Lock::exclusive(&bin.join(".micromamba.lock"), || {
        output::info("waiting for another download of micromamba");
    })?;
    if is_served(&program, wanted) {
        return Ok(program);
    }
    let fetched = fetch(wanted, &bin, &name);
    fetched.map_err(|error| Error::of(error.kind(), error.to_string()).hint(by_hand(wanted, project.as_ref())))?;
    Ok(program)
}

/// One that the user put into the project. It is never passed over in silence.
fn placed(project: &Project, wanted: &Wanted) -> Result<Option<PathBuf>> {
    let Some(path) = cache::placed_micromamba(project) else { return Ok(None) };
    let shown = visible_path(&path);
    match std::fs::metadata(&path) {
        Err(_) => return Ok(None),
        Ok(metadata) if !metadata.is_file() => return Err(Error::new(format!("'{shown}' is not a file"))),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
            return Err(Error::new(format!("'{shown}' is not executable"))
                .hint(format!("chmod +x {}", shell_word(&path.to_string_lossy()))));
        }
        Ok(_) => {}
    }
    if wanted.source.sha256.is_some() && hash(&path) != wanted.source.sha256 {
        return Err(Error::new(format!("'{shown}' does not have the SHA-256 that was asked for"))
            .hint("delete it, or pass its own hash with --sha256"));
    }
    Ok(Some(path))
}

fn hash(path: &Path) -> Option<String> {
    fs::sha256_of(&mut File::open(path).ok()?).ok()
}

/// Whether the cache has what is wanted: anything, or exactly what was asked for.
fn is_served(program: &Path, wanted: &Wanted) -> bool {
    let Some(sha256) = &wanted.source.sha256 else { return program.is_file() };
    let record: Option<Record> =
        std::fs::read(record(program)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    program.is_file()
        && (record.is_some_and(|record| record.sha256 == *sha256) || hash(program).as_ref() == Some(sha256))
}

fn record(program: &Path) -> PathBuf {
    program.with_extension("json")
}

fn on_path(wanted: &Wanted) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).filter(|place| place.is_absolute());
    let found = places.find_map(|place| Some(place.join("micromamba")).filter(|program| program.is_file()))?;
    (wanted.source.sha256.is_none() || hash(&found) == wanted.source.sha256).then_some(found)
}

fn fetch(wanted: &Wanted, bin: &Path, name: &str) -> Result<()> {
    let (part, new) = (bin.join(format!(".{name}.part")), bin.join(format!(".{name}.new")));
    let made = (|| {
        let sha256 = download::fetch(&wanted.source, &part)?;
        archive::program(&part, &new, &wanted.source.url)?;
        let record_text = serde_json::to_string(&Record { url: wanted.source.shown(), sha256 });
        let record_text = record_text.map_err(|error| Error::new(error.to_string()))?;
        let program = bin.join(name);
        fs::write_atomic(&record(&program), record_text.as_bytes(), 0o644)?;
        std::fs::rename(&new, &program).context(|| format!("publish '{}'", visible_path(&program)))
    })();
    for leftover in [&part, &new] {
        let _ = std::fs::remove_file(leftover);
    }
    made
}

/// How to do without the download, for this platform.
fn by_hand(wanted: &Wanted, project: Option<&Project>) -> String {
    let place = match project {
        Some(project) => shell_word(&project.state().join("bin").to_string_lossy()),
        None => ".sbox/bin".into(),
    };
    let url = OFFICIAL.replace("{platform}", &wanted.platform);
    format!(
        "where it can be reached: curl -L {url} | tar -xvj bin/micromamba; then: mkdir -p {place} && mv bin/micromamba {place}/; or set SBOX_MAMBA_URL to a mirror"
    )
}
