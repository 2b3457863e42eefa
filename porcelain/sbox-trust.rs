//! sbox-trust: accept what a configuration from elsewhere asks for.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::Result;
use libsbox::escape;
use libsbox::output;
use libsbox::project::Project;
use libsbox::trust;
use serde_json::json;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-trust", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox trust [-l | -r] [-j]
Accept what a configuration asks for outside of its project: directories of this
host, variables of your environment, ports. One that 'sbox init' made here is
yours already.

  -l, --list       only show it, each request with the line that asks for it;
                   exit code 1 if it is not accepted
  -r, --revoke     revoke the acceptance
  -j, --json       print JSON
  -h, --help       print this text
  -V, --version    print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut list, mut revoke, mut as_json) = (false, false, false);
    while let Some(arg) = args.next()? {
        match arg {
            Short('l') | Long("list") => list = true,
            Short('r') | Long("revoke") => revoke = true,
            Short('j') | Long("json") => as_json = true,
            other => return Err(cli::common(other)),
        }
    }
    let project = Project::find()?;
    let config = libsbox::check::load(&project)?;
    let requests = trust::requests(&project, &config);
    let accepted = || requests.is_empty() || trust::is_own(&project) || trust::is_accepted(&project, &requests);
    if revoke {
        trust::revoke(&project, &requests)?;
    } else if !list {
        trust::accept(&project, &requests)?;
    }
    let (own, accepted) = (trust::is_own(&project), accepted());
    if as_json {
        let requests: Vec<_> =
            requests.iter().map(|request| json!({"text": request.text, "line": request.line})).collect();
        cli::out_json(&json!({"project": project.name(), "own": own, "accepted": accepted, "requests": requests}))?;
    } else {
        show(&project, &requests, own, accepted);
    }
    Ok(u8::from(list && !accepted))
}

fn show(project: &Project, requests: &[trust::Request], own: bool, accepted: bool) {
    let name = escape::visible(&project.name());
    if requests.is_empty() {
        return output::ok(format_args!("'{name}' asks for nothing outside of the project"));
    }
    output::step(format_args!("'{name}' asks for:"));
    trust::show(requests);
    match (own, accepted) {
        (true, _) => output::ok("It was made here: nothing has to be accepted"),
        (false, true) => output::ok("Accepted (only this)"),
        (false, false) => {
            output::warn("not accepted: run, exec, shell and build refuse");
            output::hint("sbox trust");
        }
    }
}
