//! The server, as a client sees it.

use crate::common::cow::need_overlay;
use crate::common::daemons::Standing;
use crate::common::{becomes, bin, need_registries, need_sandbox, running, stdout};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A client that is as simple as one can be.
struct Client {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    last: u64,
    /// What it answers to a question.
    answer: Value,
    asked: Vec<Value>,
}

impl Client {
    /// Starts a server, and says nothing yet.
    fn silent(standing: &Standing, words: &[&str]) -> Client {
        let mut command = Command::new(bin().join("sbox-mcp"));
        command.args(words).env_clear().env("HOME", standing.scratch.home()).env("PATH", "/usr/bin:/bin");
        command.current_dir(standing.scratch.path("p")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (to, from) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Client { child, to, from, last: 0, answer: json!({"action": "decline"}), asked: Vec::new() }
    }

    fn new(standing: &Standing, words: &[&str], capabilities: Value) -> Client {
        let mut client = Client::silent(standing, words);
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": capabilities, "clientInfo": {"name": "t", "version": "1"}});
        let started = client.request("initialize", params);
        assert_eq!(started["result"]["protocolVersion"], "2025-06-18", "{started}");
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        client
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.to.as_mut().unwrap(), "{message}").unwrap();
    }

    fn receive(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.from.read_line(&mut line).unwrap() > 0, "the server has ended");
        serde_json::from_str(&line).unwrap()
    }

    /// Sends a request and does not wait.
    fn begin(&mut self, method: &str, params: Value) -> u64 {
        self.last += 1;
        let message = json!({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params});
        self.send(&message);
        self.last
    }

    fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params);
        self.wait(id)
    }

    fn wait(&mut self, id: u64) -> Value {
        loop {
            let message = self.receive();
            if message["method"] == "elicitation/create" {
                let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": self.answer});
                self.asked.push(message);
                self.send(&answer);
            } else if message["id"] == id {
                return message;
            }
        }
    }

    /// The text of a tool's answer, and whether the tool failed.
    fn tool(&mut self, name: &str, arguments: Value) -> (String, bool) {
        let answer = self.request("tools/call", json!({"name": name, "arguments": arguments}));
        let result = &answer["result"];
        (
            result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned(),
            result["isError"] == true,
        )
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.to.take());
        let _ = self.child.wait();
    }
}

#[test]
fn commands_and_files_are_those_of_the_sandbox() {
    if !need_sandbox() {
        return;
    }
    let standing = Standing::new("mcp", "mount: [\"../data:/data:ro\"]\nnetwork: {allow: [a.invalid]}\n");
    standing.scratch.write("data/f", "content\n");
    std::fs::write(standing.scratch.home().join("secret"), "x").unwrap();
    let secret = standing.scratch.home().join("secret").display().to_string();
    let mut client = Client::new(&standing, &[], json!({}));
    let names = client.request("tools/list", json!({}));
    let names: Vec<&str> =
        names["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["run", "read", "write", "list", "diff", "apply", "logs", "report", "why", "policy"]);

    let answer = client
        .request("tools/call", json!({"name": "run", "arguments": {"command": "echo out; echo err >&2; exit 3"}}));
    let result = &answer["result"];
    assert_eq!((&result["isError"], &result["structuredContent"]["exit_code"]), (&false.into(), &3.into()), "{answer}");
    assert!(result["structuredContent"]["stdout"] == "out\n" && result["structuredContent"]["stderr"] == "err\n");
    let (text, failed) =
        client.tool("run", json!({"command": "printf", "args": ["%s;", "a b", "$HOME"], "cwd": "/data"}));
    assert!(text.contains("a b;$HOME;") && !failed, "{text}");
    assert!(client.tool("run", json!({"command": "cat", "stdin": "typed"})).0.contains("typed"));
    let (text, failed) = client.tool("run", json!({"command": "yes x | head -c 1000000"}));
    assert!(text.len() < 60_000 && text.contains("bytes left out") && text.contains("was cut") && !failed);

    assert_eq!(client.tool("read", json!({"path": "/data/f"})), ("content\n".into(), false));
    assert_eq!(
        client.tool("read", json!({"path": "/data/f", "offset": 2, "limit": 3})).0,
        "nte\n[bytes 2 to 5 of 8; go on with offset 5]"
    );
    assert!(!client.tool("write", json!({"path": "/tmp/a/b", "content": "new"})).1);
    assert!(standing.state("rootfs/tmp/a/b").exists());
    assert!(client.tool("list", json!({"path": "/data"})).0.contains(" f\n"));
    for (name, arguments, why) in [
        ("read", json!({"path": secret}), "does not exist"),
        ("read", json!({"path": "/data"}), "is not a file"),
        ("write", json!({"path": "/data/f", "content": ""}), "there, read-only"),
        ("list", json!({"path": "/nowhere"}), "nothing is mounted there"),
        ("run", json!({"line": "x"}), "do not fit"),
        ("logs", json!({"name": "--help"}), "--help"),
    ] {
        let (text, failed) = client.tool(name, arguments.clone());
        assert!(failed && text.contains(why), "{name} {arguments}: {text}");
        // Whether the host has something is not for the client's model.
        assert!(!text.contains("the host has a"), "{text}");
    }
    assert!(client.tool("why", json!({"subject": secret})).0.contains("not there"));
    let (text, _) = client.tool("policy", json!({}));
    assert!(text.contains("/data") && text.contains("a.invalid") && !text.contains("p/data"), "{text}");
    let inside = standing.stdout(&["exec", "cat", "/.sbox-policy"]);
    assert_eq!(inside, text);
    assert!(!standing.sbox(&["exec", "sh", "-c", "echo x > /.sbox-policy"]).output().unwrap().status.success());
    let unknown = client.request("tools/call", json!({"name": "nope"}));
    assert_eq!(unknown["error"]["code"], -32602);
}

#[test]
fn a_call_that_is_cancelled_or_takes_too_long_leaves_nothing() {
    if !need_sandbox() {
        return;
    }
    let standing = Standing::new("mcp-cancel", "");
    let nap = crate::common::daemons::long_nap();
    let mut client = Client::new(&standing, &["--timeout", "2"], json!({}));
    let (text, failed) = client.tool("run", json!({"command": format!("sleep {nap}")}));
    assert!(text.contains("ended after 2 seconds") && !failed, "{text}");
    assert!(becomes(|| running("sleep", &nap) == 0));

    let mut client = Client::new(&standing, &[], json!({}));
    let id = client.begin(
        "tools/call",
        json!({"name": "run", "arguments": {"command": format!("sleep {nap} & trap '' TERM; sleep {nap}")}}),
    );
    assert!(becomes(|| running("sleep", &nap) >= 2));
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
    assert!(becomes(|| running("sleep", &nap) == 0));
    // The next answer is not one of that call.
    assert_eq!(client.request("ping", json!({}))["result"], json!({}));

    client.begin("tools/call", json!({"name": "run", "arguments": {"command": format!("sleep {nap}")}}));
    assert!(becomes(|| running("sleep", &nap) == 1));
    drop(client.to.take());
    assert!(client.child.wait().unwrap().success());
    assert!(becomes(|| running("sleep", &nap) == 0));
}

#[test]
fn changes_reach_the_host_when_the_user_agrees_and_not_otherwise() {
    if !need_overlay() {
        return;
    }
    let standing = Standing::new("mcp-apply", "mount: [\"../tree:/work:cow\"]\n");
    let tree = standing.scratch.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let yes = json!({"action": "accept", "content": {"apply": true}});

    // No way to ask, and no leave.
    let mut client = Client::new(&standing, &[], json!({}));
    client.tool("write", json!({"path": "/work/a", "content": "1"}));
    let (text, failed) = client.tool("apply", json!({}));
    assert!(failed && text.contains("cannot ask"), "{text}");
    assert!(client.tool("apply", json!({"dry_run": true})).0.contains("A a") && !tree.join("a").exists());
    drop(client);

    let mut client = Client::new(&standing, &[], json!({"elicitation": {}}));
    for answer in [
        json!({"action": "decline"}),
        json!({"action": "cancel"}),
        json!({"action": "accept", "content": {"apply": false}}),
    ] {
        client.answer = answer;
        assert!(client.tool("apply", json!({})).1 && !tree.join("a").exists());
    }
    client.answer = yes.clone();
    assert!(!client.tool("apply", json!({})).1);
    assert!(tree.join("a").exists());
    assert!(client.asked.len() == 4 && client.asked[0]["params"]["message"].as_str().unwrap().contains("A a"));
    drop(client);

    // With leave, but not for what programs of the host act on.
    let mut client = Client::new(&standing, &["--allow-apply"], json!({}));
    client.tool("write", json!({"path": "/work/b", "content": "1"}));
    client.tool("write", json!({"path": "/work/.envrc", "content": "1"}));
    assert!(!client.tool("apply", json!({"paths": ["/work/b"]})).1 && tree.join("b").exists());
    let (text, failed) = client.tool("apply", json!({"paths": ["/work/.envrc"]}));
    assert!(failed && !tree.join(".envrc").exists(), "{text}");
}

#[test]
fn what_changed_after_the_question_is_not_applied() {
    if !need_overlay() {
        return;
    }
    let standing = Standing::new("mcp-later", "mount: [\"../tree:/work:cow\"]\n");
    let tree = standing.scratch.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let mut client = Client::new(&standing, &[], json!({"elicitation": {}}));
    client.tool("write", json!({"path": "/work/a", "content": "harmless"}));
    let id = client.begin("tools/call", json!({"name": "apply", "arguments": {}}));
    let question = client.receive();
    assert_eq!(question["method"], "elicitation/create");
    let other = standing.sbox(&["exec", "sh", "-c", "echo harmful > /work/a"]).output().unwrap();
    assert!(other.status.success());
    let yes = json!({"action": "accept", "content": {"apply": true}});
    client.send(&json!({"jsonrpc": "2.0", "id": question["id"], "result": yes}));
    let answer = client.wait(id);
    assert!(answer["result"]["isError"] == true && answer.to_string().contains("any more"), "{answer}");
    assert!(!tree.join("a").exists());
}

#[test]
fn a_request_that_names_its_version_needs_no_handshake() {
    if !need_overlay() {
        return;
    }
    let standing = Standing::new("mcp-modern", "mount: [\"../tree:/work:cow\"]\n");
    let tree = standing.scratch.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let meta = |version: &str, capabilities: Value| json!({"io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": capabilities});
    let mut client = Client::silent(&standing, &[]);
    assert_eq!(client.request("tools/list", json!({}))["error"]["code"], -32600);
    let found = client.request("server/discover", json!({"_meta": meta("2026-07-28", json!({}))}));
    assert!(found["result"]["supportedVersions"].as_array().unwrap().contains(&"2026-07-28".into()), "{found}");
    assert_eq!(found["result"]["resultType"], "complete");
    let refused = client.request("tools/list", json!({"_meta": meta("2199-01-01", json!({}))}));
    assert!(refused["error"]["code"] == -32022 && refused["error"]["data"]["requested"] == "2199-01-01", "{refused}");
    let list = client.request("tools/list", json!({"_meta": meta("2026-07-28", json!({}))}));
    assert!(list["result"]["ttlMs"].is_u64() && list["result"]["tools"].is_array(), "{list}");
    let call = |client: &mut Client, name: &str, arguments: Value, more: Value| {
        let mut params =
            json!({"name": name, "arguments": arguments, "_meta": meta("2026-07-28", json!({"elicitation": {}}))});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.request("tools/call", params)["result"].clone()
    };
    call(&mut client, "write", json!({"path": "/work/a", "content": "1"}), json!({}));
    let asked = call(&mut client, "apply", json!({}), json!({}));
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    assert_eq!(asked["inputRequests"]["apply"]["method"], "elicitation/create");
    let yes = |state: &Value| json!({"inputResponses": {"apply": {"action": "accept", "content": {"apply": true}}}, "requestState": state});
    // A state that nobody gave out opens nothing.
    assert_eq!(call(&mut client, "apply", json!({}), yes(&"0".repeat(48).into()))["isError"], true);
    assert!(!tree.join("a").exists());
    let done = call(&mut client, "apply", json!({}), yes(&asked["requestState"]));
    assert!(done["isError"] == false && done["resultType"] == "complete" && tree.join("a").exists(), "{done}");
}

#[test]
fn what_is_not_a_message_is_answered_and_nothing_breaks() {
    if !need_sandbox() {
        return;
    }
    let standing = Standing::new("mcp-wild", "");
    let mut client = Client::new(&standing, &[], json!({}));
    for line in
        ["x", "[]", "{}", "{\"id\":[],\"method\":\"x\"}", "\u{0}", "{\"id\":1,\"method\":\"tools/call\",\"params\":7}"]
    {
        writeln!(client.to.as_mut().unwrap(), "{line}").unwrap();
        assert!(client.receive()["error"]["code"].is_i64(), "{line}");
    }
    assert_eq!(client.request("resources/list", json!({}))["error"]["code"], -32601);
    let sandbox = standing.stdout(&["exec", "echo", "x"]);
    assert_eq!(sandbox, "x\n");
}

/// The reference client. Its script fails where an answer is not what the protocol's schema has.
#[test]
fn the_reference_client_gets_along_with_it() {
    if !need_registries() || !crate::common::need_program("npm") || !need_overlay() {
        return;
    }
    let standing = Standing::new("mcp-reference", "mount: [\"../tree:/work:cow\"]\n");
    std::fs::create_dir(standing.scratch.path("tree")).unwrap();
    standing.scratch.write("client/package.json", "{\"type\":\"module\"}");
    standing.scratch.write("client/client.js", include_str!("../fixtures/protocols/mcp_client.js"));
    let run = |program: &str, words: &[&str]| {
        let mut command = Command::new(program);
        command.args(words).current_dir(standing.scratch.path("client")).env("HOME", standing.scratch.home());
        command.env("SBOX_MCP", bin().join("sbox-mcp")).env("PROJECT", standing.scratch.path("p"));
        command.output().unwrap()
    };
    let installed = run("npm", &["install", "--no-audit", "--no-fund", "@modelcontextprotocol/sdk"]);
    assert!(installed.status.success(), "{installed:?}");
    let output = run("node", &["client.js"]);
    assert_eq!(stdout(&output), "10 tools\nexit 3\nhello from inside\napplied true\ncancelled\n", "{output:?}");
    assert_eq!(standing.scratch.read("tree/new"), "hello from inside\n");
}
