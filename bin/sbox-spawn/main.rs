//! sbox-spawn: run one command confined.
//!
//! Three processes: the *monitor* (this one) waits outside and passes signals on; *init* is pid 1 of the sandbox, makes its
//! root and reaps; the *command* is the third. The monitor's death kills init, and init's death kills everything in the
//! sandbox: the kernel sees to both. Where there can be no namespaces (levels `landlock` and `env`) a *subreaper* takes the
//! place of init, on the host's side.
#![forbid(unsafe_code)]

mod args;
mod assemble;
mod base;
mod cgroup;
mod command;
mod control;
mod cover_again;
mod denied;
mod environment;
mod etc;
mod filter;
mod hidden;
mod home;
mod identity;
mod init;
mod job;
mod join;
mod landlock;
mod layer;
mod level;
mod limits;
mod members;
mod mountinfo;
mod namespaces;
mod network;
mod one_off;
mod overlay;
mod plan;
mod privileges;
mod probe;
mod protect;
mod refresh;
mod report;
mod sandbox;
mod signals;
mod subreaper;
mod symlink_layout;
mod terminal;
mod unavailable;
mod watcher;
mod watches;

use libsbox::cli;
use libsbox::error::{Error, Result};
use sandbox::Sandbox;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    args::TOOL.main(run)
}

fn run(parser: &mut lexopt::Parser) -> Result<u8> {
    let start = layer::clock();
    let mut args = args::parse(parser)?;
    if args.probe {
        return probe::run(args);
    }
    let mut environment = environment::read(&args)?;
    network::name_proxy(&args.network, &plan::hostname(&args).to_string_lossy(), &mut environment);
    if args.join.is_some() {
        return join::run(Sandbox::new(args, environment, Vec::new(), Vec::new(), start)?);
    }
    let home = environment.iter().find(|(name, _)| name == "HOME").map(|(_, home)| PathBuf::from(home));
    let home = home.unwrap_or_else(|| "/home".into());
    if let Some(home) = home::Home::of(&args, &home) {
        home.move_mounts(&mut args);
    }
    let mut protection = protect::Protection::look(&args)?;
    let ops = plan::build(&args, &home, &protection)?;
    if args.dry_run {
        return print(&ops);
    }
    let terminal = terminal::Terminal::remember();
    signals::block()?;
    if !matches!(args.isolation, Some(args::Level::Landlock | args::Level::Env)) {
        protection.make_mount_points(&ops);
    }
    // It knows of them, so that they go where this process is killed, too.
    let watcher = watcher::Watcher::start(&mut protection)?;
    // After it: it ends a moment later than this process, and would hold the locks of the layers for so long.
    let layers = layer::Layer::lock_all(&args)?;
    let mut reporter = report::Reporter::new(args.status_fd)?;
    let mut sandbox = Sandbox::new(args, environment, ops, layers, start)?;
    let code = level::run_at_strongest(&mut sandbox, &mut reporter, &watcher, &terminal);
    terminal.restore();
    watcher.finish(&mut protection);
    sandbox.layers.iter().for_each(|layer| layer.tidy(&sandbox.ops));
    match &sandbox.args.ephemeral {
        Some(root) => one_off::end(root),
        None => tell_changes(&sandbox.args),
    }
    network::tell_refused(&sandbox.refused);
    let code = code?;
    reporter.ended(code);
    terminal.die_as_the_command_did();
    Ok(code)
}

/// On a terminal, what waits in copy-on-write mounts: the user decides what becomes of it.
fn tell_changes(args: &args::Args) {
    if !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        return;
    }
    for mount in &args.mounts {
        if let args::Mount::Cow { layer, .. } = mount
            && let Some(line) = libsbox::cow::pending_line(layer)
        {
            libsbox::output::info(line);
        }
    }
}

fn print(ops: &[libsbox::operation::Op]) -> Result<u8> {
    for op in ops {
        cli::out_line(serde_json::to_string(op).map_err(|error| Error::new(format!("cannot print: {error}")))?)?;
    }
    Ok(0)
}
