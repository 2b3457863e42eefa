//! What agents speak through a tunnel of the proxy: HTTP/2, server-sent events, WebSockets.

use crate::common::daemons::Standing;
use crate::common::{Ends, Scratch, need_program, need_python, need_registries, need_sandbox, package, stderr, stdout};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// The server of the fixtures, on the host's loopback.
struct Served {
    port: String,
    _process: Ends,
}

impl Served {
    fn start() -> Served {
        let script = package().join("tests/fixtures/protocols/serve.mjs");
        let mut process = std::process::Command::new("node").arg(script).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Served { port: port.trim().to_owned(), _process: Ends(process) }
    }

    /// The configuration of a sandbox that reaches it, under a name that its certificate has.
    fn config(&self, more: &str) -> String {
        let fixtures = package().join("tests/fixtures/protocols");
        format!(
            "network: {{allow: ['web.test:{}=127.0.0.1'{more}]}}\nmount: ['{}:/tls:ro']\n",
            self.port,
            fixtures.display()
        )
    }
}

fn need_tools() -> bool {
    need_sandbox() && need_program("node") && need_program("curl") && need_program("python3")
}

#[test]
fn http_2_server_sent_events_and_websockets_pass() {
    if !need_tools() {
        return;
    }
    let served = Served::start();
    let project = Standing::new("protocols", &served.config(""));
    let run = |script: &str| {
        let script = script.replace("SERVER", &format!("https://web.test:{}", served.port));
        let output = project.sbox(&["exec", "sh", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", stderr(&output));
        stdout(&output)
    };
    assert_eq!(run("curl -sS --cacert /tls/ca.pem --http2 SERVER/"), "HTTP/2.0\n");
    assert_eq!(run("curl -sS --cacert /tls/ca.pem --http1.1 SERVER/"), "HTTP/1.1\n");
    for version in ["--http1.1", "--http2"] {
        let script = "curl() { command curl -sSN --cacert /tls/ca.pem VERSION \"$@\"; }
            curl SERVER/events >/tmp/events & until grep -q first /tmp/events; do sleep 0.05; done
            grep second /tmp/events; curl SERVER/go; wait; cat /tmp/events";
        let seen = run(&script.replace("VERSION", version));
        assert_eq!(seen, "gone\ndata: first\n\ndata: second\n\n", "{version}");
    }
    assert_eq!(run(&format!("python3 /tls/websocket.py web.test {} /tls/ca.pem", served.port)), "one\ntwo\n");
}

#[test]
fn real_clients_get_through() {
    let Some(spec) = need_python().filter(|_| need_registries() && need_tools()) else { return };
    let served = Served::start();
    let scratch = Scratch::new("protocols-clients");
    let config = format!(
        "runtime: [{spec}, 'node:22']\nworkdir: /app\n{}install:\n  - pip install -q websockets 'httpx[http2]'\n  - npm install --silent --no-audit --no-fund ws https-proxy-agent undici\n",
        served.config(", '@npm', '@pypi'")
    );
    scratch.project("p", &config);
    let build = scratch.sbox_online("p").arg("build").output().unwrap();
    assert!(build.status.success(), "{}", stderr(&build));
    let at = format!("web.test:{}", served.port);
    let run = |words: &[&str]| {
        let output = scratch.sbox_online("p").args(["exec", "timeout", "60"]).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        (stdout(&output), stderr(&output))
    };
    let httpx = format!(
        "import httpx, ssl
context = ssl.create_default_context(cafile='/tls/ca.pem')
with httpx.Client(http2=True, verify=context) as client:
    print(client.get('https://{at}/').text, end='')"
    );
    let (seen, _) = run(&["python", "-c", &httpx]);
    assert_eq!(seen, "HTTP/2.0\n");
    let websockets = format!(
        "import asyncio, ssl, websockets
async def main():
    context = ssl.create_default_context(cafile='/tls/ca.pem')
    async with websockets.connect('wss://{at}/ws', ssl=context) as socket:
        await socket.send('hello')
        print(await socket.recv())
        await socket.close()
try: asyncio.run(asyncio.wait_for(main(), 20))
except websockets.ConnectionClosed: pass"
    );
    assert_eq!(run(&["python", "-c", &websockets]).0, "hello\n");
    let ws = format!(
        "const WebSocket = require('ws'); const {{ HttpsProxyAgent }} = require('https-proxy-agent');
const socket = new WebSocket('wss://{at}/ws', {{ ca: require('fs').readFileSync('/tls/ca.pem'), agent: new HttpsProxyAgent(process.env.https_proxy) }});
socket.on('open', () => socket.send('hello'));
socket.on('message', (data) => {{ console.log(String(data)); process.exit(0); }});"
    );
    assert_eq!(run(&["node", "-e", &ws]).0, "hello\n");
    // Node's own fetch and the WebSocket of undici, by the proxy that the environment names.
    let fetch = format!(
        "const {{ WebSocket, EnvHttpProxyAgent, setGlobalDispatcher, fetch }} = require('undici');
const tls = {{ ca: require('fs').readFileSync('/tls/ca.pem') }};
setGlobalDispatcher(new EnvHttpProxyAgent({{ requestTls: tls }}));
(async () => {{
  process.stdout.write(await (await fetch('https://{at}/')).text());
  const events = (await fetch('https://{at}/events')).body.getReader();
  process.stdout.write(Buffer.from((await events.read()).value));
  await fetch('https://{at}/go');
  const socket = new WebSocket('wss://{at}/ws');
  socket.onopen = () => socket.send('hello');
  socket.onmessage = (message) => {{ console.log(message.data); process.exit(0); }};
}})();"
    );
    // undici 7 asks for HTTP/1.1, later versions for HTTP/2.
    let seen = run(&["node", "-e", &fetch]).0;
    assert!(seen.starts_with("HTTP/") && seen.ends_with("\ndata: first\n\nhello\n"), "{seen}");
}
