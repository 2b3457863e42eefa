//! A real agent as the client of `sbox mcp`: it needs a package registry, SBOX_TEST_ONLINE=1.

use crate::common::cow::need_overlay;
use crate::common::daemons::Standing;
use crate::common::{bin, need_program, need_registries, package, stdout};
use std::process::{Command, Stdio};

/// The other way round: the agent is outside, and what it does goes through the tools of `sbox mcp`.
#[test]
fn claude_code_works_in_the_sandbox_of_a_project_by_its_tools() {
    if !need_registries() || !need_program("npm") || !need_overlay() {
        return;
    }
    let standing = Standing::new("real-mcp", "mount: [\"../tree:/work:cow\"]\nnetwork: {allow: [a.invalid]}\n");
    std::fs::create_dir(standing.scratch.path("tree")).unwrap();
    standing.scratch.write("client/package.json", "{}");
    let client = |program: &str, words: &[&str]| {
        let mut command = Command::new(program);
        command.args(words).current_dir(standing.scratch.path("client")).env("HOME", standing.scratch.home());
        command.stdin(Stdio::null()).output().unwrap()
    };
    let installed = client("npm", &["install", "--no-audit", "--no-fund", "@anthropic-ai/claude-code"]);
    assert!(installed.status.success(), "{installed:?}");
    let steps = serde_json::json!([
        {"tool": "__sandbox__policy", "arguments": {}},
        {"tool": "__sandbox__run", "arguments": {"command": "pwd; exit 3"}},
        {"tool": "__sandbox__write", "arguments": {"path": "/work/new", "content": "from inside\n"}},
        {"tool": "__sandbox__diff", "arguments": {}},
        {"tool": "__sandbox__why", "arguments": {"subject": "refused.invalid"}},
        {"tool": "__sandbox__apply", "arguments": {}},
    ]);
    let steps = standing.scratch.write("client/steps.json", &steps.to_string());
    let stub = package().join("tests/fixtures/model_api/stub.py");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let trip = |options: &[&str]| {
        let project = standing.scratch.path("p");
        let words = [&["-C", project.to_str().unwrap(), "mcp"], options].concat();
        let servers = serde_json::json!({"mcpServers": {"sandbox": {"command": bin().join("sbox"), "args": words}}});
        let servers = standing.scratch.write("client/servers.json", &servers.to_string());
        let line = format!(
            "STUB_STEPS={} ANTHROPIC_BASE_URL=http://127.0.0.1:{port} ANTHROPIC_API_KEY=sk-ant-x IS_SANDBOX=1 \
             CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 python3 {} {port} -- node_modules/.bin/claude -p fix \
             --mcp-config {} --strict-mcp-config --dangerously-skip-permissions --output-format stream-json --verbose",
            steps.display(),
            stub.display(),
            servers.display(),
        );
        let output = client("sh", &["-c", &line]);
        assert!(output.status.success(), "{output:?}");
        stdout(&output)
    };
    // It has a way to ask, and nobody is there to answer.
    let said = trip(&[]);
    for wanted in ["copy-on-write", "exit_code", "+from inside", "refused.invalid: refused", "nothing was applied"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert!(!standing.scratch.path("tree/new").exists());
    let said = trip(&["--allow-apply"]);
    assert!(said.contains("1 change applied"), "{said}");
    assert_eq!(standing.scratch.read("tree/new"), "from inside\n");
}
