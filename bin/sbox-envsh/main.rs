//! sbox-envsh: the environment of a project's programs. The single place that computes it.
#![forbid(unsafe_code)]

mod script;

use lexopt::prelude::*;
use libsbox::check::RESERVED;
use libsbox::cli::{self, Tool};
use libsbox::config::{Config, Piece, pieces};
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::model::Network;
use libsbox::output;
use libsbox::project::Project;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-envsh", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-envsh [-q] [--format FORMAT] [--isolation LEVEL]
Print the environment of the project's programs.

      --format FORMAT     sh, fish, json or null: a script for POSIX shells or
                          for fish, to be sourced on the host; JSON; or
                          NAME=VALUE, each followed by NUL [sh]
      --isolation LEVEL   namespace, landlock, env or none: what SBOX_ISOLATION
                          says [none in scripts, or else namespace]
  -q, --quiet             do not warn about variables that the host lacks
  -h, --help              print this text
  -V, --version           print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

#[derive(Clone, Copy)]
enum Format {
    Sh,
    Fish,
    Json,
    Null,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut format, mut level, mut quiet) = (Format::Sh, None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Long("format") => format = parse_format(&args.value()?)?,
            Short('q') | Long("quiet") => quiet = true,
            Long("isolation") => level = Some(args.value()?.string()?),
            other => return Err(cli::common(other)),
        }
    }
    let project = Project::find()?;
    let config = libsbox::check::load(&project)?;
    let is_script = matches!(format, Format::Sh | Format::Fish);
    let level = match level.as_deref() {
        // Who sources a script is on the host, and not confined.
        None if is_script => "none",
        None | Some("auto") => "namespace",
        Some(level) => level,
    };
    let project = match is_script {
        // To be sourced on the host, where things are where they are.
        true => project,
        false => libsbox::built::Built::seen_from_inside(&project),
    };
    match format {
        Format::Sh => cli::out(script::sh(&project, &config, level).as_bytes())?,
        Format::Fish => cli::out(script::fish(&project, &config, level).as_bytes())?,
        Format::Json => cli::out_json(&json(&environment(&project, &config, level, quiet)))?,
        Format::Null => cli::out(&null(&environment(&project, &config, level, quiet)))?,
    }
    Ok(0)
}

fn parse_format(name: &OsStr) -> Result<Format> {
    match name.to_str() {
        Some("sh") => Ok(Format::Sh),
        Some("fish") => Ok(Format::Fish),
        Some("json") => Ok(Format::Json),
        Some("null") => Ok(Format::Null),
        _ => Err(Error::usage(format!("unknown format '{}'", name.to_string_lossy())).hint("sh, fish, json or null")),
    }
}

type Variables = Vec<(String, OsString)>;

/// What passes from the host by itself: how programs speak, and who the user is called.
const PASSED: [&str; 7] = ["LANG", "TERM", "COLORTERM", "TZ", "USER", "LOGNAME", "NO_COLOR"];

/// What passes when there is a network: the way out of a company.
const PROXIES: [&str; 8] =
    ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];

/// What passes when there is a network and the file is visible inside: whom to trust.
const CERTIFICATES: [&str; 7] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
];

/// Everything, in the order in which a later one wins.
fn environment(project: &Project, config: &Config, level: &str, quiet: bool) -> Variables {
    let mut all: Variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| PASSED.contains(&name.as_str()) || name.starts_with("LC_"))
        .collect();
    all.sort();
    match config.network {
        Network::Host => all.extend(variables(&PROXIES).into_iter().chain(certificates())),
        // The proxy of such a sandbox is its own, and sbox-spawn names it.
        Network::Allow { .. } => all.extend(certificates()),
        Network::None => {}
    }
    all.extend(own(project, level).into_iter().map(|(name, value)| (name.to_owned(), value.into())));
    all.push(("PATH".into(), format!("{}:/usr/local/bin:/usr/bin:/bin", own_path(project)).into()));
    for (name, value) in config.env.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str())) {
        let value = expand(name, value, quiet);
        all.retain(|(other, _)| other != name);
        all.push((name.clone(), value));
    }
    all
}

fn variables(names: &[&str]) -> Variables {
    names.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?))).collect()
}

fn certificates() -> Variables {
    let mut all: Variables = variables(&CERTIFICATES);
    all.retain(|(_, path)| is_visible(Path::new(path)));
    // pip and Node bring a bundle of their own and do not look at the system's, where a company's own authority is.
    if let Some(bundle) = libsbox::certificates::system_bundle() {
        for name in ["PIP_CERT", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"] {
            if !all.iter().any(|(other, _)| other == name) {
                all.push((name.to_owned(), bundle.into()));
            }
        }
    }
    all
}

fn is_visible(path: &Path) -> bool {
    ["/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust", "/etc/ca-certificates", "/usr"]
        .iter()
        .any(|place| path.starts_with(place))
}

/// The directories of the project's programs, as PATH has them.
fn own_path(project: &Project) -> String {
    let (env, home) = (project.env(), project.rootfs().join("home"));
    let places = [env.join("bin"), env.join("pnpm"), home.join(".local/bin")];
    places.map(|place| place.to_string_lossy().into_owned()).join(":")
}

/// What sbox sets, PATH apart.
fn own(project: &Project, level: &str) -> Vec<(&'static str, String)> {
    let (env, rootfs) = (project.env(), project.rootfs());
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let home = |below: &str| text(rootfs.join("home").join(below));
    vec![
        ("SBOX_ACTIVE", "1".into()),
        ("SBOX_PROJECT", text(project.root().to_owned())),
        ("SBOX_ISOLATION", level.into()),
        ("HOME", text(rootfs.join("home"))),
        ("TMPDIR", text(rootfs.join("tmp"))),
        ("XDG_CONFIG_HOME", home(".config")),
        ("XDG_CACHE_HOME", home(".cache")),
        ("XDG_DATA_HOME", home(".local/share")),
        ("XDG_STATE_HOME", home(".local/state")),
        ("PYTHONNOUSERSITE", "1".into()),
        ("PYTHONDONTWRITEBYTECODE", "1".into()),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1".into()),
        ("CONDA_PREFIX", text(env.clone())),
        ("MAMBA_ROOT_PREFIX", text(project.state().join("mamba"))),
        ("npm_config_cache", home(".npm")),
        ("npm_config_prefix", text(env.clone())),
        ("PNPM_HOME", text(env.join("pnpm"))),
        ("COREPACK_HOME", home(".cache/node/corepack")),
    ]
}

/// A value of `env:` with the host's variables in it. One that is not set is empty, with a warning.
fn expand(name: &str, value: &str, quiet: bool) -> OsString {
    let mut out = OsString::new();
    for piece in pieces(value) {
        match piece {
            Piece::Text(text) => out.push(text),
            Piece::Variable { name: wanted, default } => {
                match (std::env::var_os(&wanted).filter(|value| default.is_none() || !value.is_empty()), default) {
                    (Some(value), _) => out.push(value),
                    (None, Some(default)) => out.push(default),
                    (None, None) if quiet => {}
                    (None, None) => {
                        output::warn(format_args!(
                            "'{wanted}' is not set on the host; it is empty in env.{}",
                            escape::visible(name)
                        ));
                        output::hint(format_args!("export {wanted}=..., or write ${{{wanted}:-default}}"));
                    }
                }
            }
        }
    }
    out
}

fn null(variables: &Variables) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let mut out = Vec::new();
    for (name, value) in variables {
        out.extend([name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat());
    }
    out
}

fn json(variables: &Variables) -> serde_json::Map<String, serde_json::Value> {
    variables.iter().map(|(name, value)| (name.clone(), value.to_string_lossy().into_owned().into())).collect()
}
