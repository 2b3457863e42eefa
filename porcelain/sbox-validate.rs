//! sbox-validate: every finding in the configuration at once.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::check::{self, Finding, Report, Severity};
use libsbox::cli::{self, Tool};
use libsbox::config;
use libsbox::error::Result;
use libsbox::escape;
use libsbox::output;
use libsbox::project::Project;
use serde_json::json;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-validate", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox validate [-q] [-j]
Check .sbox/config.yaml and print all errors and warnings. The exit code is 1 if
there are errors.

  -q, --quiet      print errors only, and nothing if there are none
  -j, --json       print JSON
  -h, --help       print this text
  -V, --version    print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut quiet, mut as_json) = (false, false);
    while let Some(arg) = args.next()? {
        match arg {
            Short('q') | Long("quiet") => quiet = true,
            Short('j') | Long("json") => as_json = true,
            other => return Err(cli::common(other)),
        }
    }
    let project = Project::find()?;
    let report = check::check(&config::read(&project)?, project.root());
    let failed = u8::from(report.errors().next().is_some());
    if as_json {
        let findings: Vec<_> = report.findings.iter().map(finding).collect();
        cli::out_json(&json!({"valid": failed == 0, "findings": findings}))?;
        return Ok(failed);
    }
    if !quiet {
        output::step("Validating configuration: .sbox/config.yaml");
        output::line("");
    }
    report.print(quiet);
    if failed == 0 && !quiet {
        summary(&report);
    }
    Ok(failed)
}

fn finding(finding: &Finding) -> serde_json::Value {
    json!({
        "severity": if finding.severity == Severity::Error { "error" } else { "warning" },
        "field": finding.field,
        "message": finding.message,
        "hint": finding.hint,
        "line": finding.place.map(|place| place.0),
        "column": finding.place.map(|place| place.1),
    })
}

fn summary(report: &Report) {
    let Some(config) = &report.config else { return };
    output::ok("Configuration is valid");
    let runtimes: Vec<String> = config.runtimes.iter().map(ToString::to_string).collect();
    output::line(format_args!("  Runtime:  {}", runtimes.join(", ")));
    output::line(format_args!("  Workdir:  {}", escape::visible(&config.workdir)));
    if let Some(cmd) = &config.cmd {
        output::line(format_args!("  Command:  {}", escape::visible(&cmd.to_string())));
    }
    let counts = [
        ("Copy", config.copy.len()),
        ("Mounts", config.mount.len()),
        ("Install", config.install.len()),
        ("Env vars", config.env.len()),
    ];
    for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        output::line(format_args!("  {:<9} {count}", format!("{name}:")));
    }
}
