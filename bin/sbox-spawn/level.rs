//! At which isolation level the command runs: the one asked for, or the strongest that this host gives.

use crate::args::{Level, Mode, Mount};
use crate::limits::Exceeded;
use crate::recorder::Recorder;
use crate::report::{FailurePipes, Reporter, UnavailablePipe};
use crate::sandbox::Sandbox;
use crate::signals::Monitor;
use crate::terminal::Terminal;
use crate::watcher::Watcher;
use crate::{environment, identity, limits, namespaces, subreaper, unavailable};
use libsbox::error::{Error, Kind, Result};
use libsbox::escape::visible_path;

/// Runs the command at the level asked for, or at the strongest that this host gives.
pub fn run_at_strongest(
    sandbox: &mut Sandbox,
    reporter: &mut Reporter,
    recorder: &mut Recorder,
    watcher: &Watcher,
    terminal: &Terminal,
) -> Result<u8> {
    let levels = match sandbox.args.isolation {
        Some(level) => vec![level],
        // Nothing weaker has a mount, and nobody may write through instead.
        None if sandbox.args.needs_overlay() => vec![Level::Namespace],
        // Of what a weaker level does not deny, root can do everything.
        None if identity::is_real_root() => vec![Level::Namespace],
        None => vec![Level::Namespace, Level::Landlock, Level::Env],
    };
    let is_refused_to_root = sandbox.args.isolation.is_none() && identity::is_real_root();
    let mut lack = None;
    for (at, level) in levels.iter().enumerate() {
        let last = at + 1 == levels.len();
        may_run_at(sandbox, *level)?;
        if let Some(why) = &lack {
            unavailable::warn_of_level(*level, why);
        } else {
            unavailable::warn_of_host(*level, sandbox.args.network.mode == Mode::Host);
        }
        environment::name_level(&mut sandbox.environment, *level);
        if *level != Level::Namespace {
            environment::without_files(&mut sandbox.environment, &sandbox.args);
        }
        match attempt(sandbox, *level, reporter, recorder, watcher, terminal, last && !is_refused_to_root)? {
            Attempt::Ended(code) => return Ok(code),
            Attempt::Unavailable(why) if is_refused_to_root => {
                return Err(Error::of(Kind::Unavailable, format!("root gets no weaker level by itself: {why}"))
                    .hint("run sbox as another user, or name the level: --isolation landlock"));
            }
            Attempt::Unavailable(why) if last => return Err(why),
            Attempt::Unavailable(why) => lack = Some(why),
        }
    }
    Err(lack.unwrap_or_else(|| Error::new("no isolation level is left")))
}

/// Nothing runs with less than was asked for: what a weaker level cannot give is an error there.
fn may_run_at(sandbox: &Sandbox, level: Level) -> Result<()> {
    let network = &sandbox.args.network;
    let lost = match level {
        Level::Namespace => return Ok(()),
        _ if network.mode == Mode::Proxy => "a network that leads to some names only",
        _ if sandbox.args.needs_overlay() => "a copy-on-write mount",
        _ if !network.ports.is_empty() => "ports that lead into a separate network",
        _ if !network.reach.is_empty() => "ports that lead out of a separate network",
        Level::Env if network.mode == Mode::None => "a command without network",
        _ => return may_show_at(sandbox, level),
    };
    let message = format!("isolation level '{}' cannot give {lost}", level.name());
    Err(Error::new(message).hint("sbox doctor says what this host lacks for level 'namespace'"))
}

/// What is hidden in a directory that is shown can only be covered by a mount.
fn may_show_at(sandbox: &Sandbox, level: Level) -> Result<()> {
    for hidden in &sandbox.args.hide {
        for mount in &sandbox.args.mounts {
            let Mount::Bind { src, .. } = mount else { continue };
            if level == Level::Landlock && hidden.starts_with(src) {
                let (hidden, src) = (visible_path(hidden), visible_path(src));
                let message = format!("isolation level 'landlock' cannot hide '{hidden}' in '{src}'");
                return Err(Error::new(message).hint("mount a directory that does not hold it"));
            }
        }
    }
    Ok(())
}

enum Attempt {
    /// With this code.
    Ended(u8),
    /// The host cannot give this level, and the command was not run.
    Unavailable(Error),
}

fn attempt(
    sandbox: &Sandbox,
    level: Level,
    reporter: &mut Reporter,
    recorder: &mut Recorder,
    watcher: &Watcher,
    terminal: &Terminal,
    last: bool,
) -> Result<Attempt> {
    let mut unavailable = UnavailablePipe::new(!last)?;
    let has_overlays = sandbox.args.overlays().next().is_some();
    let hears_calls = recorder.wants_calls() && level != Level::Env;
    let failure = FailurePipes {
        exec: reporter.exec_socket(has_overlays || hears_calls)?,
        unavailable: unavailable.writer(),
        hears_calls,
        tells_all: false,
    };
    let launched = match level {
        Level::Namespace => namespaces::launch(sandbox, failure),
        level => subreaper::launch(sandbox, level, failure),
    };
    let mut launched = match launched {
        Err(error) if error.kind() == Kind::Unavailable => return Ok(Attempt::Unavailable(error)),
        launched => launched?,
    };
    watcher.sandbox_is(launched.init, level == Level::Namespace);
    launched.lead_in()?;
    let mut refresher = launched.start_refresher(sandbox)?;
    let (command, listener) = reporter.started(launched.init)?;
    recorder.begin(&sandbox.args, level, listener, launched.take_requests());
    if let Some(command) = command {
        sandbox.layers.iter().try_for_each(|layer| layer.record(command))?;
        // It was executed: nothing can be lacking any more.
        unavailable.close();
    }
    let line = launched.line.take();
    let monitor = Monitor { child: launched.init, line: line.as_ref(), witness: None, terminal };
    let end = monitor.wait(recorder, || {
        // Nothing is lost by starting this one again.
        refresher.iter_mut().for_each(|refresher| refresher.start_again());
        let learner = || sandbox.learner.as_ref().and_then(crate::learn::Learner::lost);
        watcher.lost().or_else(|| launched.lost()).or_else(learner)
    })?;
    if let Some(refresher) = refresher {
        refresher.finish();
    }
    if level != Level::Namespace {
        subreaper::end_what_it_left(watcher.pid());
    }
    if let Some(why) = end.lost {
        limits::say_lost(&why);
        reporter.ended_for(why);
    }
    recorder.finish_requests(|| launched.end_proxy());
    // The kernel counts where there is a control group, and says nothing; pid 1 has said it.
    let by_the_kernel = launched.ran_out_of_memory().then_some(Exceeded::Memory);
    by_the_kernel.iter().for_each(|limit| limits::say(&limit.words(&sandbox.args.limits)));
    if let Some(limit) = end.exceeded.or(by_the_kernel) {
        let words = limit.words(&sandbox.args.limits);
        recorder.limit(&words);
        reporter.ended_for(words);
    }
    Ok(unavailable.read().map_or(Attempt::Ended(end.code), Attempt::Unavailable))
}
