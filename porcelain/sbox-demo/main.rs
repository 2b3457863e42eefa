//! sbox-demo: a curious agent in a throw-away sandbox, and what it saw.
#![forbid(unsafe_code)]

mod attempts;

use attempts::{Attempt, Baits};
use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::model::{Isolation, Language, Runtime};
use libsbox::output;
use libsbox::plumbing;
use libsbox::plumbing::spawn;
use libsbox::progress::Progress;
use libsbox::provider;
use serde::Deserialize;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

const TOOL: Tool = Tool { name: "sbox-demo", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox demo [-r SPEC] [-k]
Build a throw-away sandbox, run a curious agent in it, and print what it could
see beside what this machine has. The exit code is 1 if it reached anything that
it must not reach.

  -r, --runtime SPEC   python:VERSION or node:VERSION [one that this host has]
  -k, --keep           keep the project
  -h, --help           print this text
  -V, --version        print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut spec, mut keep) = (None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Short('r') | Long("runtime") => spec = Some(args.value()?.string()?),
            Short('k') | Long("keep") => keep = true,
            other => return Err(cli::common(other)),
        }
    }
    let runtime = match spec {
        Some(spec) => Runtime::parse(&spec).map_err(|error| Error::usage(error.to_string()))?,
        None => available()?,
    };
    let stage = Stage::new(keep)?;
    demonstrate(&stage, &runtime)
}

/// A runtime that this host has, without a download; or else Node.js, through npm.
fn available() -> Result<Runtime> {
    if let Some(runtime) = provider::python_of_this_host()? {
        return Ok(runtime);
    }
    Runtime::parse("node:22")
}

/// The throw-away directory with the project and its neighbour; gone when this is dropped.
struct Stage {
    root: PathBuf,
    keep: bool,
}

impl Stage {
    fn new(keep: bool) -> Result<Stage> {
        let root = fs::temporary().join(format!("sbox-demo-{}", std::process::id()));
        // Not there before: nobody else's directory is used, or removed after.
        std::fs::create_dir(&root).context(|| format!("make directory '{}'", escape::visible_path(&root)))?;
        fs::make_dirs(&root.join("neighbour"))?;
        fs::make_dirs(&root.join("project/app"))?;
        fs::make_dirs(&root.join("project/.sbox"))?;
        Ok(Stage { root, keep })
    }

    fn project(&self) -> PathBuf {
        self.root.join("project")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.keep {
            output::info(format_args!("kept '{}'", escape::visible_path(&self.root)));
        } else {
            let _ = fs::remove_tree(&self.root);
        }
    }
}

/// A process of the caller's, for the agent to look for; ended when this is dropped.
struct Bystander(Child);

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the agent reported on one attempt.
#[derive(Debug, Deserialize)]
struct Outcome {
    id: usize,
    reached: bool,
    got: String,
}

fn demonstrate(stage: &Stage, runtime: &Runtime) -> Result<u8> {
    let token = format!("demo-{}", &fs::sha256(format!("{:?}{}", Instant::now(), std::process::id()).as_bytes())[..24]);
    let secret = stage.root.join("neighbour/.env");
    fs::write_atomic(&secret, format!("DATABASE_PASSWORD={token}\n").as_bytes(), 0o600)?;
    let bystander =
        Command::new("sleep").arg("600").env("SBOX_DEMO_TOKEN", &token).spawn().context(|| "start 'sleep'".into())?;
    let bystander = Bystander(bystander);
    let config = stage.project().join(".sbox/config.yaml");
    let baits = Baits { secret, token: token.clone(), process: bystander.0.id(), config: config.clone() };
    write_configuration(runtime, &config)?;
    let attempts = attempts::all(&baits);
    write_agent(stage, runtime, &attempts)?;
    let built = Instant::now();
    build(stage)?;
    header(stage, runtime, built.elapsed().as_secs_f64())?;
    let outcomes = run_agent(stage, &token)?;
    table(&attempts, &outcomes)
}

/// The agent in the language of the runtime: its text, and the command that runs it.
fn agent(runtime: &Runtime) -> (&'static str, &'static str, &'static str) {
    match runtime.language {
        Language::Python => ("agent.py", include_str!("agent.py"), "python agent.py"),
        Language::Node => ("agent.js", include_str!("agent.js"), "node agent.js"),
    }
}

fn write_configuration(runtime: &Runtime, config: &Path) -> Result<()> {
    let text = format!("runtime: {runtime}\ncopy:\n  - ./app:/app\ncmd: {}\n", agent(runtime).2);
    fs::write_atomic(config, text.as_bytes(), 0o644)
}

fn write_agent(stage: &Stage, runtime: &Runtime, attempts: &[Attempt]) -> Result<()> {
    let (name, text, _) = agent(runtime);
    let app = stage.project().join("app");
    let list = serde_json::to_string(attempts)?;
    fs::write_atomic(&app.join("attempts.json"), list.as_bytes(), 0o644)?;
    fs::write_atomic(&app.join(name), text.as_bytes(), 0o644)
}

fn build(stage: &Stage) -> Result<()> {
    let progress = Progress::spin("building a throw-away sandbox");
    let mut command = plumbing::program("sbox-build")?;
    plumbing::trace(&command);
    let output =
        command.current_dir(stage.project()).stdin(Stdio::null()).output().context(|| "start 'sbox-build'".into())?;
    drop(progress);
    if output.status.success() {
        return Ok(());
    }
    output::line(String::from_utf8_lossy(&output.stderr).trim_end());
    Err(Error::reported(1))
}

fn run_agent(stage: &Stage, token: &str) -> Result<Vec<Outcome>> {
    let mut command = plumbing::program("sbox-run")?;
    // The caller's environment holds the token now, as a shell holds keys that were exported.
    command.current_dir(stage.project()).env("SBOX_DEMO_TOKEN", token);
    let output = plumbing::output(&mut command)?;
    let outcome = |line: &[u8]| {
        serde_json::from_slice(line)
            .map_err(|error| Error::new(format!("unexpected output from the demo agent: {error}")))
    };
    output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(outcome).collect()
}

fn header(stage: &Stage, runtime: &Runtime, seconds: f64) -> Result<()> {
    let colour = output::colour(std::io::stdout().is_terminal());
    let bold = |text: &str| output::paint(colour, "1", text);
    cli::out_line("")?;
    cli::out_line(bold("A curious agent in a sandbox"))?;
    cli::out_line(format_args!("  {runtime}, built in {seconds:.1}s in {}", escape::visible_path(stage.project())))?;
    let level = spawn::probe(Isolation::Auto).level;
    cli::out_line(format_args!("  no Docker, no root: isolation level '{level}', enforced by the kernel"))
}

/// The columns of the table: with what an agent gets, a line has 79.
const COLUMNS: (usize, usize, usize) = (42, 17, 18);

fn table(attempts: &[Attempt], outcomes: &[Outcome]) -> Result<u8> {
    let colour = output::colour(std::io::stdout().is_terminal());
    let mut leaks = 0;
    for (allowed, title) in [(false, "It tried to"), (true, "It may")] {
        let (what, host, _) = COLUMNS;
        let head = format!("  {title:<what$}{:<host$}{}", "On this machine", "In the sandbox");
        cli::out_line(format_args!("\n{}", output::paint(colour, "1", &head)))?;
        cli::out_line(format_args!("  {}", "─".repeat(COLUMNS.0 + COLUMNS.1 + COLUMNS.2)))?;
        for attempt in attempts.iter().filter(|attempt| attempt.allowed == allowed) {
            let outcome = outcomes.iter().find(|outcome| outcome.id == attempt.id);
            let good = outcome.is_some_and(|outcome| outcome.reached == allowed);
            leaks += usize::from(!good);
            cli::out_line(row(attempt, outcome, good, colour))?;
        }
    }
    let forbidden = attempts.iter().filter(|attempt| !attempt.allowed).count();
    cli::out_line("")?;
    if leaks == 0 {
        cli::out_line(output::paint(
            colour,
            "32",
            &format!(
                "  None of the {forbidden} forbidden things was reached.\n  If it is not mounted, it does not exist."
            ),
        ))?;
        cli::out_line("\n  Next: sbox init myapp && cd myapp && sbox build && sbox run")?;
        return Ok(0);
    }
    cli::out_line(output::paint(
        colour,
        "31",
        &format!(
            "  Attempts that did not end as they should: {leaks}.\n  Do not trust this sandbox, and please report it."
        ),
    ))?;
    Ok(1)
}

fn row(attempt: &Attempt, outcome: Option<&Outcome>, good: bool, colour: bool) -> String {
    let mark = if good { output::paint(colour, "32", "✓") } else { output::paint(colour, "31", "✗") };
    let got = match outcome {
        None => "no answer".to_owned(),
        Some(outcome) if outcome.reached => escape::visible(&outcome.got),
        Some(outcome) => meaning(&outcome.got),
    };
    let got = output::paint(colour, if good { "32" } else { "31" }, &got);
    format!("  {mark} {:<1$}{2:<3$}{got}", attempt.what, COLUMNS.0 - 2, attempt.host, COLUMNS.1)
}

fn meaning(errno: &str) -> String {
    match errno {
        "ENOENT" => "does not exist",
        "EACCES" | "EPERM" => "denied",
        "EROFS" => "read-only",
        "ESRCH" => "no such process",
        "ENODATA" => "not found",
        other => return escape::visible(other),
    }
    .into()
}
