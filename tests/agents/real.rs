//! The agents themselves, each installed from its template and given one task, under its allow list. The model is
//! `fixtures/model_api/stub.py`, on the loopback of the sandbox: it lets the agent edit a file, run a test and commit.
//!
//! They need package registries and minutes: SBOX_TEST_ONLINE=1.

use crate::common::{Scratch, need_program, need_registries, package, stderr, stdout};
use std::process::Command;
use std::time::Duration;

/// Where the stub listens, inside.
const PORT: u16 = 8765;

/// A repository with a mistake in it, made a project from a template, built.
fn built(scratch: &Scratch, template: &str) -> bool {
    if !need_registries() || !need_program("git") || !std::path::Path::new("/usr/bin/python3").exists() {
        return false;
    }
    scratch.write("home/.gitconfig", "[user]\n\tname = Ada L\n\temail = ada@example.org\n");
    scratch.write("p/calc.py", "def add(a, b):\n    return a - b\n");
    let test = "import unittest, calc\n\n\nclass Adds(unittest.TestCase):\n    def test_adds(self):\n        self.assertEqual(calc.add(2, 3), 5)\n";
    scratch.write("p/test_calc.py", test);
    for words in [&["init", "-q", "-b", "main"][..], &["add", "-A"], &["commit", "-qm", "start"]] {
        assert!(git(scratch, words).status.success());
    }
    scratch.sbox_online("p").args(["init", ".", "-t", template]).assert().success();
    let stub = package().join("tests/fixtures/model_api");
    let mounts = format!("  - .:/work:cow\n  - {}:/stub:ro\n", stub.display());
    let config = scratch.read("p/.sbox/config.yaml").replacen("  - .:/work:cow\n", &mounts, 1);
    scratch.write("p/.sbox/config.yaml", &config);
    let mut build = scratch.sbox_online("p");
    let output = build.arg("build").timeout(Duration::from_secs(1200)).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    true
}

fn git(scratch: &Scratch, words: &[&str]) -> std::process::Output {
    let mut command = Command::new("git");
    command.args(words).current_dir(scratch.path("p")).env_clear().env("HOME", scratch.home());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).output().unwrap()
}

/// What a line prints inside; it has to succeed.
fn run(scratch: &Scratch, line: &str) -> String {
    let output = scratch.sbox("p").args(["run", line]).timeout(Duration::from_secs(300)).output().unwrap();
    assert!(output.status.success(), "{line}: {}\n{}", stdout(&output), stderr(&output));
    stdout(&output) + &stderr(&output)
}

/// A line with the model at hand.
fn with_model(line: &str) -> String {
    format!("python3 /stub/stub.py {PORT} -- sh -c '{line}' < /dev/null")
}

/// What has to be true after the task: the host knows nothing until it is asked to.
fn task_was_done(scratch: &Scratch) {
    assert!(scratch.read("p/calc.py").contains("a - b"), "the host's file changed");
    let diff = stdout(&scratch.sbox("p").args(["diff", "calc.py"]).output().unwrap());
    assert!(diff.contains("+    return a + b"), "{diff}");
    scratch.sbox("p").args(["apply", "calc.py"]).assert().success();
    assert!(scratch.read("p/calc.py").contains("a + b"));
    scratch.sbox("p").args(["apply", "--commits"]).assert().success();
    let log = stdout(&git(scratch, &["log", "--all", "--format=%an %s"]));
    assert!(log.lines().any(|line| line.starts_with("Ada L") && !line.ends_with("start")), "{log}");
}

/// The whole way of one agent. `start` prints a version and a help text, `task` does the work.
fn works(template: &str, start: &str, task: &str) {
    let scratch = Scratch::new(&format!("real-{template}"));
    if !built(&scratch, template) {
        return;
    }
    run(&scratch, start);
    let said = run(&scratch, &with_model(task));
    assert!(said.contains("calc.py"), "{said}");
    task_was_done(&scratch);
}

#[test]
fn claude_code_does_a_task() {
    let task = "ANTHROPIC_BASE_URL=http://127.0.0.1:8765 ANTHROPIC_API_KEY=sk-ant-x \
                claude --dangerously-skip-permissions -p fix";
    works("claude-code", "claude --version && claude --help", task);
}

/// As a service of somebody else's, which is how a base address is given to it.
const CODEX: &str = "printenv OPENAI_API_KEY | codex login --with-api-key && codex exec -m gpt-5 \
    -c model_provider=stub -c model_providers.stub.name=stub -c model_providers.stub.wire_api=responses \
    -c model_providers.stub.base_url=http://127.0.0.1:8765/v1 -c model_providers.stub.env_key=OPENAI_API_KEY";

#[test]
fn codex_does_a_task_and_confines_its_commands_itself_where_that_is_allowed() {
    let scratch = Scratch::new("real-codex");
    if !built(&scratch, "codex") {
        return;
    }
    run(&scratch, "codex --version && codex --help");
    let config = scratch.read("p/.sbox/config.yaml");
    scratch.write("p/.sbox/config.yaml", &config.replacen("# nested: true", "nested: true", 1));
    run(&scratch, &with_model(&format!("export OPENAI_API_KEY=sk-x; {CODEX} -s workspace-write fix")));
    // Its own rules keep .git from its commands, and its edit is there.
    let diff = stdout(&scratch.sbox("p").arg("diff").output().unwrap());
    assert!(diff.contains("+    return a + b") && !diff.contains(".claude"), "{diff}");

    scratch.sbox("p").args(["discard", "--force"]).assert().success();
    scratch.write("p/.sbox/config.yaml", &config);
    let task = format!("export OPENAI_API_KEY=sk-x; {CODEX} --dangerously-bypass-approvals-and-sandbox fix");
    let said = run(&scratch, &with_model(&task));
    assert!(said.contains("calc.py"), "{said}");
    task_was_done(&scratch);
}

#[test]
fn aider_does_a_task() {
    let task = "ANTHROPIC_API_KEY=x ANTHROPIC_API_BASE=http://127.0.0.1:8765 aider --model anthropic/claude-sonnet-4-5 \
                --yes-always --no-show-model-warnings --auto-test --test-cmd \"python3 -m unittest -q test_calc\" \
                --message fix calc.py";
    works("aider", "aider --version && aider --help", task);
}

#[test]
fn gemini_does_a_task() {
    // With an address of its own it would choose another way to log in. Its commands see no configuration of git but the
    // repository's, which is why the template puts the user's name there.
    let task = "for key in user.name user.email; do value=$(git config $key) && git config --local $key \"$value\"; done; \
                mkdir -p ~/.gemini && \
                echo {\\\"security\\\":{\\\"auth\\\":{\\\"selectedType\\\":\\\"gemini-api-key\\\"}}} > ~/.gemini/settings.json && \
                GEMINI_API_KEY=x GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:8765 gemini --yolo -p fix";
    works("gemini-cli", "gemini --version && gemini --help", task);
}

#[test]
fn opencode_does_a_task() {
    let task = "OPENCODE_CONFIG=/stub/opencode.json opencode run fix";
    works("opencode", "opencode --version && opencode --help", task);
}

#[test]
fn qwen_code_does_a_task() {
    let task = "OPENAI_API_KEY=x OPENAI_BASE_URL=http://127.0.0.1:8765/v1 OPENAI_MODEL=stub \
                qwen --yolo --auth-type openai -p fix";
    works("qwen-code", "qwen --version && qwen --help", task);
}

#[test]
fn mini_swe_agent_does_a_task() {
    let task = "OPENAI_API_KEY=x OPENAI_API_BASE=http://127.0.0.1:8765/v1 mini --yolo --exit-immediately \
                -m openai/gpt-5 -t fix-calc.py";
    works("mini-swe-agent", "mini --help", task);
}

#[test]
fn openclaw_does_a_task_and_its_gateway_answers() {
    let scratch = Scratch::new("real-openclaw");
    if !built(&scratch, "openclaw") {
        return;
    }
    run(
        &scratch,
        "openclaw --version && openclaw --help && mkdir -p ~/.openclaw && cp /stub/openclaw.json ~/.openclaw/",
    );
    let said = run(&scratch, &with_model("openclaw agent --local --agent main --message fix"));
    assert!(said.contains("calc.py"), "{said}");
    task_was_done(&scratch);
    gateway(&scratch, "openclaw");
}

#[test]
fn jupyter_answers() {
    let scratch = Scratch::new("real-jupyter");
    if built(&scratch, "jupyter") {
        run(&scratch, "jupyter lab --version");
        gateway(&scratch, "jupyter");
    }
}

/// A daemon that says through its port that it is ready; the port is another one here than in the template.
fn gateway(scratch: &Scratch, template: &str) {
    let config = scratch.read("p/.sbox/config.yaml");
    let inside = if template == "jupyter" { 8899 } else { 18789 };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    scratch.write(
        "p/.sbox/config.yaml",
        &config.replace(&format!("ports: [{inside}]"), &format!("ports: [\"{free}:{inside}\"]")),
    );
    scratch.sbox("p").args(["run", "-d", "--wait"]).timeout(Duration::from_secs(300)).assert().success();
    let answers = std::net::TcpStream::connect(("127.0.0.1", free)).is_ok();
    scratch.sbox("p").arg("stop").assert().success();
    assert!(answers);
}

#[test]
fn copilot_starts_and_asks_for_a_login() {
    // Its service has no address of one's own to give: there is no stub for it.
    let scratch = Scratch::new("real-copilot");
    if !built(&scratch, "copilot") {
        return;
    }
    run(&scratch, "copilot --version && copilot --help");
    let output = scratch.sbox("p").args(["run", "copilot --allow-all-tools -p hi </dev/null"]).output().unwrap();
    let said = stdout(&output) + &stderr(&output);
    assert!(!output.status.success() && said.to_lowercase().contains("auth"), "{said}");
}

#[test]
fn playwright_drives_the_hosts_chromium_with_its_sandbox() {
    let scratch = Scratch::new("real-playwright");
    if !std::path::Path::new("/usr/bin/chromium").exists() || !built(&scratch, "playwright") {
        return;
    }
    let own = !crate::common::is_root();
    let own = if own { "True" } else { "False" };
    scratch.write("p/main.py", &format!(
        "import http.server, threading\n\
         from playwright.sync_api import sync_playwright as start\n\
         serve = http.server.ThreadingHTTPServer((\"127.0.0.1\", 8000), http.server.SimpleHTTPRequestHandler)\n\
         threading.Thread(target=serve.serve_forever, daemon=True).start()\n\
         with start() as playwright:\n    \
             browser = playwright.chromium.launch(executable_path=\"/usr/bin/chromium\", chromium_sandbox={own})\n    \
             page = browser.new_page()\n    page.goto(\"http://127.0.0.1:8000/calc.py\")\n    print(page.inner_text(\"body\"))\n"
    ));
    let output = scratch.sbox("p").arg("run").timeout(Duration::from_secs(300)).output().unwrap();
    assert!(stdout(&output).contains("def add(a, b)"), "{}", stderr(&output));
}
