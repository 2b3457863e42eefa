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
mod bpf;
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
mod learn;
mod level;
mod limits;
mod line;
mod listener;
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
mod reaper;
mod recorder;
mod refresh;
mod report;
mod sandbox;
mod secrets;
mod signals;
mod subreaper;
mod summary;
mod symlink_layout;
mod terminal;
mod unavailable;
mod watcher;
mod watches;
mod witness;

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
    let proxy = secrets::prepare(&mut args)?;
    let mut protection = protect::Protection::look(&args)?;
    let ops = plan::build(&args, &home, &protection)?;
    if args.dry_run {
        return print(&ops);
    }
    let terminal = terminal::Terminal::remember();
    line::block()?;
    if !matches!(args.isolation, Some(args::Level::Landlock | args::Level::Env)) {
        protection.make_mount_points(&ops);
    }
    // It knows of them, so that they go where this process is killed, too.
    let watcher = watcher::Watcher::start(&mut protection)?;
    // After it: it ends a moment later than this process, and would hold the locks of the layers for so long.
    let layers = layer::Layer::lock_all(&args)?;
    let mut reporter = report::Reporter::new(args.status_fd)?;
    let mut sandbox = Sandbox::new(args, environment, ops, layers, start)?;
    sandbox.learner = learn::Learner::start(&sandbox.args)?;
    sandbox.proxy.replace(proxy);
    let mut recorder = recorder::Recorder::new(&sandbox.args);
    let code = level::run_at_strongest(&mut sandbox, &mut reporter, &mut recorder, &watcher, &terminal);
    if let (Some(learner), true) = (&sandbox.learner, code.is_ok()) {
        learner.finish();
    }
    let has_left_it_raw = terminal.has_other_modes();
    terminal.restore();
    let watching = watcher.pid();
    let found = watcher.finish(&mut protection);
    sandbox.layers.iter().for_each(|layer| layer.tidy(&sandbox.ops));
    recorder.guard(&found);
    recorder.changes(&sandbox.args, start.tv_sec * 1_000_000_000 + start.tv_nsec);
    let is_watched = terminal.is_watched() && !has_left_it_raw;
    let said = tell_found(&found, recorder.run().filter(|_| is_watched));
    if let Some(root) = &sandbox.args.ephemeral {
        one_off::end(root);
    }
    if is_watched && code.is_ok() {
        summary::tell(&recorder, &sandbox.args, said);
    }
    let reason = code.as_ref().map_or_else(|error| Some(error.to_string()), |_| reporter.reason());
    let unwritten = recorder.end(*code.as_ref().unwrap_or(&125), reason);
    // A program's stderr may be somebody's data. That of a daemon is its log.
    if let Some(why) = unwritten.filter(|_| is_watched || sandbox.args.record_as.starts_with("daemon:")) {
        libsbox::output::warn(format_args!("the record of this run is not whole: {why}"));
    }
    watching.into_iter().for_each(reaper::wait_if_nobody_else_does);
    let code = code?;
    reporter.ended(code);
    terminal.die_as_the_command_did();
    Ok(code)
}

/// What the guard of read-write mounts found, wherever that is read. For a person, who can read the rest in the record of the
/// run, not all of it. Gives how many lines that were.
fn tell_found(found: &[(String, Option<String>)], run: Option<u64>) -> usize {
    const MOST: usize = 4;
    let mut said = 0;
    for (at, (line, hint)) in found.iter().enumerate() {
        if let Some(run) = run
            && said >= MOST
            && found.len() - at > 1
        {
            libsbox::output::hint(format_args!("{} more: sbox report {run}", found.len() - at));
            return said + 1;
        }
        libsbox::output::warn(line);
        hint.iter().for_each(libsbox::output::hint);
        said += 1 + usize::from(hint.is_some());
    }
    said
}

fn print(ops: &[libsbox::operation::Op]) -> Result<u8> {
    for op in ops {
        cli::out_line(serde_json::to_string(op).map_err(|error| Error::new(format!("cannot print: {error}")))?)?;
    }
    Ok(0)
}
