//! sbox-pack: a built sandbox as one file that works elsewhere.
#![forbid(unsafe_code)]

mod fetched;
mod oci;
mod secrets;

use lexopt::prelude::*;
use libsbox::built::Built;
use libsbox::cache;
use libsbox::cli::{self, Tool};
use libsbox::config::{self, Config, MountEntry};
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::format;
use libsbox::fs;
use libsbox::output;
use libsbox::plumbing::archive::{Create, Written};
use libsbox::plumbing::stage::Sources;
use libsbox::project::Project;
use libsbox::time;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-pack", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox pack [-f] [-o FILE] [--exclude-env] [--include-cache] [FILE]
       sbox pack --format oci [--base DIR] [-f] [-o FILE] [FILE]
Write the built sandbox into FILE: an archive that tar can read, for
'sbox unpack' on another machine, or an image for container engines.

  -o, --output FILE      where to write [PROJECT-sbox.tar.gz in the project]
      --exclude-env      leave the runtime out; 'sbox build' makes it there
      --include-cache    add the cached runtime, and what pip and npm fetched:
                         'sbox build --offline' needs no network there
      --format FORMAT    tar.gz, tar.zst, or oci: an image for podman, docker,
                         skopeo and Kubernetes [tar.gz]
      --base DIR         with oci: build on the image in DIR (an OCI layout),
                         not on this machine's libraries
      --level N          level of compression, from 1 to 9 [6]
  -f, --force            pack while a sandbox of the project is running
  -h, --help             print this text
  -V, --version          print the version
";

/// The level of compression without '--level'.
const LEVEL: u32 = 6;

/// What programs make again wherever they need it, below the agent's home.
const CACHES: [&str; 5] =
    ["home/.cache", "home/.npm", "home/.yarn/cache", "home/.local/share/pnpm/store", "home/.cargo/registry"];

fn main() -> ExitCode {
    TOOL.main(run)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Gzip,
    Zstd,
    Oci,
}

struct Options {
    output: Option<PathBuf>,
    exclude_env: bool,
    include_cache: bool,
    level: u32,
    force: bool,
    format: Format,
    base: Option<PathBuf>,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let mut options = Options {
        output: None,
        exclude_env: false,
        include_cache: false,
        level: LEVEL,
        force: false,
        format: Format::Gzip,
        base: None,
    };
    while let Some(arg) = args.next()? {
        match arg {
            Short('o') | Long("output") if options.output.is_none() => options.output = Some(args.value()?.into()),
            Long("exclude-env") => options.exclude_env = true,
            Long("include-cache") => options.include_cache = true,
            Long("level") => options.level = args.value()?.parse()?,
            Long("format") => {
                options.format = match args.value()?.string()?.as_str() {
                    "oci" => Format::Oci,
                    "tar.gz" => Format::Gzip,
                    "tar.zst" => Format::Zstd,
                    other => {
                        let error = Error::usage(format!("unknown format '{}'", escape::visible(other)));
                        return Err(error.hint("tar.gz, tar.zst or oci"));
                    }
                }
            }
            Long("base") => options.base = Some(args.value()?.into()),
            Short('f') | Long("force") => options.force = true,
            Value(file) if options.output.is_none() => options.output = Some(file.into()),
            other => return Err(cli::common(other)),
        }
    }
    let is_image = options.format == Format::Oci;
    if is_image && (options.exclude_env || options.include_cache) || !is_image && options.base.is_some() {
        return Err(Error::usage("'--base' belongs to '--format oci', '--exclude-env' and '--include-cache' do not"));
    }
    let project = Project::find()?;
    let config = libsbox::check::load(&project)?;
    let lock = Built::read(&project).filter(Built::is_whole);
    let lock = lock.filter(|_| project.rootfs().is_dir() && project.env().is_dir());
    let lock =
        lock.ok_or_else(|| Error::new(format!("project '{}' is not built", project.name())).hint("sbox build"))?;
    // Whoever writes in the meantime writes half of something into the archive.
    let _build = fs::Lock::exclusive(&project.build_lock(), || output::info("waiting for a build to end"))?;
    if options.include_cache {
        fetched::collect(&project, &config)?;
    }
    let _unused = match (options.force, libsbox::daemon::require_unused(&project)) {
        (true, _) => None,
        (false, Ok(lock)) => Some(lock),
        (false, Err(error)) => return Err(or_force(error)),
    };
    match is_image {
        true => oci::pack(&project, &config, &lock, &options)?,
        false => pack(&project, &config, &lock, &options)?,
    }
    Ok(0)
}

fn or_force(error: Error) -> Error {
    let hint = error.hint_text().unwrap_or_default().to_owned();
    Error::new(error.to_string()).hint(format!("{hint}; or pack it as it is: sbox pack --force"))
}

fn pack(project: &Project, config: &Config, lock: &Built, options: &Options) -> Result<()> {
    let name = project.name();
    let (format, unpacked) =
        if options.format == Format::Zstd { ("tar.zst", "--zstd -xf") } else { ("tar.gz", "-xzf") };
    let default = || project.root().join(format!("{name}-sbox.{format}"));
    let output =
        std::path::absolute(options.output.clone().unwrap_or_else(default)).context(|| "find the output".into())?;
    output::step(format_args!("Packing: {}", escape::visible(&name)));
    secrets::warn(project, config);
    let items = items(project, config, lock, options)?;
    let archive = Create::new(&output)?
        .sums(".sbox/SHA256SUMS")
        .sites(".sbox/sites.json", &written_root(project, lock))
        .name(&name)
        .level(options.level)
        .format(format)
        .time(packed_at(lock));
    let summary = archive.write(&items)?;
    say_left_out(&summary);
    let size = std::fs::metadata(&output).map_or(0, |metadata| metadata.len());
    let files = summary.files;
    output::ok(format_args!("Packed {files} files into '{}' ({})", escape::visible_path(&output), format::size(size)));
    let mounted = mounted(config);
    if !mounted.is_empty() {
        output::info(format_args!("what is mounted is not in it: {mounted}"));
    }
    output::hint(format_args!(
        "on the other machine: tar {unpacked} {} && cd {} && sbox unpack",
        escape::shell_word(&file_name(&output)),
        escape::shell_word(&escape::visible(&name))
    ));
    Ok(())
}

/// What a sandbox mounts, as people read it. It stays where it is: the tree that an agent works on is the user's to bring.
fn mounted(config: &Config) -> String {
    let one =
        |mount: &MountEntry| format!("'{}' ({})", escape::visible(&mount.written), escape::visible_path(&mount.dst));
    let mut all: Vec<String> = config.mount.iter().take(4).map(one).collect();
    if config.mount.len() > all.len() {
        all.push(format!("and {} more", config.mount.len() - all.len()));
    }
    all.join(", ")
}

/// Names what is not in the archive.
fn say_left_out(summary: &Written) {
    for left in &summary.left_out {
        output::info(format_args!("skipped (not a regular file, or in the way of one): {}", escape::visible(left)));
    }
}

fn file_name(path: &Path) -> String {
    escape::visible_path(path.file_name().unwrap_or_default())
}

/// A time that is the same each time the same is packed: `SOURCE_DATE_EPOCH` (<https://reproducible-builds.org/specs/>),
/// or when it was built.
fn packed_at(lock: &Built) -> u64 {
    epoch().or_else(|| newest(lock)).unwrap_or_else(time::now)
}

fn epoch() -> Option<u64> {
    std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|epoch| epoch.parse().ok())
}

/// The path that is written in the files: that of an earlier place, if the environment could not be moved.
fn written_root(project: &Project, built: &Built) -> PathBuf {
    let pinned = built.pinned_prefix.then(|| built.written_root()).flatten();
    pinned.unwrap_or_else(|| project.root().to_owned())
}

fn newest(lock: &Built) -> Option<u64> {
    time::seconds_of(&lock.built_at)
}

fn items(project: &Project, config: &Config, lock: &Built, options: &Options) -> Result<Vec<Value>> {
    let mut items = vec![
        json!({"dst": "README.txt", "text": readme(project, config, options)}),
        json!({"dst": ".sbox/config.yaml", "text": config::read(project)?}),
    ];
    let mut lock = lock.clone();
    if options.exclude_env {
        // There is nothing to run there before it is built.
        lock.built_at.clear();
    }
    let text = |value: Value| serde_json::to_string_pretty(&value).map(|text| format!("{text}\n"));
    for (dst, value) in [("sbox.lock", json!(lock.lock())), (".sbox/built.json", json!(lock))] {
        items.push(json!({"dst": dst, "text": text(value).map_err(|error| Error::new(error.to_string()))?}));
    }
    // Not the file: when the sources were changed on this machine is nothing to anybody else.
    // A record that is a link, or broken, came with an archive, and is not packed.
    let sources = Sources::of_readable(&project.stage_record()).unwrap_or_default();
    if !sources.items.is_empty() {
        items.push(json!({"dst": ".sbox/stage.json", "text": json!(sources).to_string()}));
    }
    if let Some(text) = fs::read_plain(&project.slots()).and_then(|bytes| String::from_utf8(bytes).ok()) {
        items.push(json!({"dst": ".sbox/slots.json", "text": text}));
    }
    let caches = match options.include_cache {
        true => fetched::skipped(project, &CACHES),
        false => CACHES.map(String::from).into(),
    };
    let skip: Vec<String> = caches.into_iter().chain(["tmp".into()]).collect();
    let inside = |place: &str| place.trim_start_matches('/').to_owned();
    // What is mounted is the host's: at weaker levels there is a link to it.
    let is_link = |place: &String| project.rootfs().join(place).is_symlink();
    let omit: Vec<String> =
        config.mount.iter().map(|mount| inside(&mount.dst.to_string_lossy())).filter(is_link).collect();
    items.push(json!({"dst": ".sbox/rootfs", "src": project.rootfs(), "skip": skip, "omit": omit}));
    if !options.exclude_env {
        items.push(json!({"dst": ".sbox/env", "src": project.env()}));
    }
    if options.include_cache {
        items.extend(cached(config, &lock)?);
    }
    items.push(json!({"dst": "metadata.json", "metadata": metadata(project, config, &lock, options)}));
    Ok(items)
}

/// The newest cache entry for each runtime that is like what was built.
fn cached(config: &Config, lock: &Built) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    for (runtime, record) in config.runtimes.iter().zip(&lock.runtimes) {
        if record.provider == "conda" && !items.is_empty() {
            // The entry of the first has all of them.
            continue;
        }
        let fits = |entry: &cache::Entry| entry.provider == record.provider && entry.request == record.request;
        let Some(entry) = cache::entries(runtime)?.into_iter().find(fits) else {
            return Err(Error::new(format!("{runtime} is not in the cache")).hint("sbox build --force makes one"));
        };
        let name = entry.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        items.push(json!({"dst": format!(".sbox/cache/runtimes/{}/{name}", cache::group(runtime)), "src": entry.path}));
    }
    Ok(items)
}

fn metadata(project: &Project, config: &Config, lock: &Built, options: &Options) -> Value {
    let runtimes: Vec<String> = config.runtimes.iter().map(ToString::to_string).collect();
    json!({
        "sbox_version": cli::VERSION,
        "format": 1,
        "packed_at": time::rfc3339(packed_at(lock)),
        "project_name": project.name(),
        "runtime": runtimes.join(","),
        "workdir": config.workdir,
        "cmd": config.cmd.as_ref().map(ToString::to_string),
        "original_prefix": written_root(project, lock),
        "platform": cli::platform(),
        "rootfs_files": fs::measure(&project.rootfs()).0,
        "env_files": if options.exclude_env { 0 } else { fs::measure(&project.env()).0 },
        "build_info": {"config_hash": lock.config_hash, "built_at": lock.built_at, "runtimes": lock.runtimes},
    })
}

fn readme(project: &Project, config: &Config, options: &Options) -> String {
    let name = project.name();
    let command = config.cmd.as_ref().map(ToString::to_string).unwrap_or_else(|| "none".into());
    let build = match (options.exclude_env, options.include_cache) {
        (true, true) => {
            "Build the environment, which is not in the archive, from the runtime that is (no network is needed):\n\n    sbox build --offline\n\n"
        }
        (true, false) => "Build the environment, which is not in the archive:\n\n    sbox build\n\n",
        _ => "",
    };
    let mounted = match mounted(config) {
        none if none.is_empty() => none,
        some => format!("What it mounts is not in the archive, put it where the configuration says: {some}.\n"),
    };
    let copied = match config.copy.is_empty() {
        true => "",
        false => {
            "The sources it was built from are not in the archive. The files that were copied from them are, and\n\
             a later build keeps those as they are.\n"
        }
    };
    format!(
        "{name}: a sandbox packed by sbox {}\n\n\
         Look at it before it runs:\n\n    cat .sbox/config.yaml metadata.json\n    sha256sum -c .sbox/SHA256SUMS\n\n\
         Make it work in this directory (no code is run, no network is needed):\n\n    \
         sbox unpack --dry-run\n    sbox unpack\n\n\
         Accept what it asks for, if it asks for anything outside of this directory:\n\n    sbox trust\n\n\
         {build}Run it in the sandbox:\n\n    sbox run\n\n\
         Its command: {command}\n\
         {mounted}{copied}",
        cli::VERSION
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_says_the_defaults_of_the_code() {
        assert_eq!(cli::default_in(USAGE, "--level"), Some(LEVEL.to_string().as_str()));
        assert_eq!(cli::default_in(USAGE, "--format"), Some("tar.gz"));
    }
}
