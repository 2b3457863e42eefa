use crate::common::{Scratch, stderr, stdout};
use predicates::str::contains;

#[test]
fn all_findings_are_printed_in_the_documented_format() {
    let scratch = Scratch::new("validate");
    scratch.project("p", "runtime: ruby:3.0\nworkdir: relative/path\ninstall:\n  - sudo make\n");
    let output = scratch.sbox("p").arg("validate").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = "\
[STEP] Validating configuration: .sbox/config.yaml

[ERROR] Configuration errors (2):

  1. [runtime] Invalid runtime format: 'ruby:3.0' (line 1, column 10)
     → Use format 'language:version', e.g., 'python:3.11' or 'node:22'

  2. [workdir] Workdir must be an absolute path: 'relative/path' (line 2, column 10)
     → Use an absolute path like '/app' or '/home/user/app'

[WARN] Configuration warnings (1):

  1. [install[0]] Using sudo in install command (line 4, column 5)
     → sbox runs in user space - sudo is not needed

";
    assert_eq!(stderr(&output), expected);
}

#[test]
fn quiet_prints_errors_only() {
    let scratch = Scratch::new("validate-quiet");
    scratch.project("p", "runtime: node:22\ninstall:\n  - sudo make\n");
    scratch.sbox("p").args(["validate", "--quiet"]).assert().success().stderr("").stdout("");
}

#[test]
fn json_has_the_places() {
    let scratch = Scratch::new("validate-json");
    scratch.project("p", "runtime: node:22\ninstal: x\n");
    let output = scratch.sbox("p").args(["validate", "-j"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(json["findings"][0]["line"], 2);
    assert_eq!(json["findings"][0]["hint"], "Did you mean 'install'?");
}

#[test]
fn the_documented_configurations_are_valid() {
    let scratch = Scratch::new("validate-forms");
    for directory in
        ["my-project", "datasets", "p/app", "p/config", "p/local/dir", "p/output", "home/.cache/huggingface", "myapp"]
    {
        std::fs::create_dir_all(scratch.path(directory)).unwrap();
    }
    let at = scratch.root.display();
    let forms = [
        format!("runtime: node:22\ncopy:\n  - src: ../my-project\n    dst: /app/workspace\nworkdir: /app/workspace\ncmd: node agent.js\nenv:\n  OPENAI_API_KEY: \"${{OPENAI_API_KEY}}\"\n  NODE_ENV: \"production\"\nmount:\n  - \"{at}/datasets:/data:ro\"\nbuild:\n  - npm install\n  - npm run build\n"),
        "runtime: node:22\nworkdir: /app\ncopy:\n  - .:/app\ninstall:\n  - cd /app && pnpm install --registry https://registry.example\n  - cd /app && pnpm build\ncmd: node openclaw.mjs --help\nenv:\n  NODE_ENV: production\n  OPENCLAW_PROFILE: sbox\n".into(),
        format!("runtime: python:3.11\nworkdir: /app\ncopy:\n  - ./app:/app\n  - ./config:/config\nmount:\n  - {at}/datasets:/data\n  - {at}/datasets:/models:ro\n  - ./local/dir:/container/path\n  - ~/.cache/huggingface:/hf\n  - {at}/myapp:/etc/myapp:ro\n  - ./output:/app/output\ninstall:\n  - pip install -r app/requirements.txt\ncmd: python main.py\nenv:\n  PYTHONPATH: /app\n  DEBUG: \"true\"\n"),
        "runtime: [python:3.12, node:22]\ncmd: [python, -c, 'print(1)']\ncopy:\n  - app\n  - {src: ./config, dst: /config, ro: false}\n".into(),
    ];
    for form in forms {
        scratch.project("p", &form);
        let output = scratch.sbox("p").arg("validate").output().unwrap();
        assert!(output.status.success(), "{form}\n{}", stderr(&output));
    }
}

#[test]
fn bad_input_is_an_error_with_a_place_or_a_hint() {
    let scratch = Scratch::new("validate-bad");
    let cases = [
        ("runtime: node:22\nenv:\n\t- x\n", "[yaml]"),
        ("- a\n- b\n", "must be a mapping"),
        ("", "Runtime is missing"),
        ("runtime: node:22\nruntime: node:20\n", "duplicate"),
        ("runtime: node:22\ncopy: ./app:/app\n", "[copy] Must be a list"),
        ("runtime: node:22\ncopy:\n  - ./nothing:/app\n", "Source does not exist"),
        ("runtime: node:22\ncopy:\n  - .:/../x\n", "must not contain '..'"),
        ("runtime: node:22\ncopy:\n  - .:x\n", "absolute path"),
        ("runtime: node:22\ncopy:\n  - .:/usr/x\n", "the system's '/usr'"),
        ("runtime: node:22\nmount:\n  - .sbox:/x\n", "sbox's own"),
        ("runtime: node:22\nmount:\n  - .:/x:rx\n", "Invalid specification"),
        ("runtime: node:22\nmount:\n  - {src: ., dts: /x}\n", "Did you mean 'dst'?"),
        ("runtime: node:22\ncopy:\n  - .:/data/app\nmount:\n  - .:/data\n", "covered by the mount"),
        ("runtime: node:22\nenv:\n  1BAD: x\n", "Invalid variable name"),
        ("runtime: node:22\nenv:\n  A: [1]\n", "one value"),
        ("runtime: node:22\nisolation: strong\n", "Unknown isolation"),
        ("runtime: node:22\nnetwork:\n  allow: [10.0.0.1]\n", "is not a valid host rule"),
        ("runtime: node:22\nnetwork:\n  permit: [x.org]\n", "Unknown key 'permit' in 'network'"),
        ("runtime: node:22\nnetwork: some\n", "Unknown network"),
        ("runtime: node:22\nnetwork: none\nports: [x]\n", "Invalid port: 'x'"),
        ("runtime: node:22\nlimits:\n  memory: much\n", "write, for example, 512M"),
        ("runtime: node:22\nlimits:\n  ram: 1G\n", "'ram' is not a limit"),
        ("runtime: node:22\nnested: perhaps\n", "true or false"),
        ("runtime: node:22\nisolation: env\nnetwork: none\n", "cannot give a program without network"),
        ("runtime: node:22\npackages: [x, --json]\n", "[packages[1]] Invalid value: '--json'"),
        ("runtime: node:22\npackages: \"https://evil.example/x.conda\"\n", "[packages] Invalid value"),
        ("runtime: node:22\nchannels: [--rc-file]\n", "Use a name like 'conda-forge'"),
        ("runtime: node:22\nchannels: [\"https://a b\"]\n", "[channels[0]] Invalid value"),
        ("runtime: node:22\nmamba: {url: ftp://x}\n", "[mamba.url] Invalid value"),
        ("runtime: node:22\nmamba: {sha256: abc}\n", "64 hexadecimal digits"),
        ("runtime: node:22\nlogs: {keep: many}\n", "[logs.keep] Invalid value: 'many'"),
        ("runtime: node:22\nlogs: {size: 1M}\n", "Unknown key: 'size'"),
        ("runtime: node:22\nrestart: sometimes\n", "Unknown restart"),
        ("runtime: node:22\nstop_timeout: soon\n", "like 10s"),
        ("runtime: node:22\nready: {http: \"http://example.org/\"}\n", "Invalid value: 'http://example.org/'"),
        ("runtime: node:22\nready: {timeout: 5s}\n", "Nothing to look for"),
        ("runtime: node:22\nready: {tcp: 80, log: x}\n", "Keep one"),
        ("runtime: [node:22, node:20]\n", "second node runtime"),
    ];
    for (config, expected) in cases {
        scratch.project("p", config);
        scratch.sbox("p").arg("validate").assert().code(1).stderr(contains(expected));
    }
}

#[test]
fn a_link_that_the_agent_can_plant_is_not_followed() {
    let scratch = Scratch::new("validate-link");
    scratch.write("precious/key", "x");
    std::fs::create_dir_all(scratch.path("p/output/real")).unwrap();
    std::os::unix::fs::symlink(scratch.path("precious"), scratch.path("p/output/data")).unwrap();
    for (key, source, code) in [("copy", "data", 1), ("mount", "data", 1), ("copy", "data/key", 1), ("copy", "real", 0)]
    {
        let entry = if key == "copy" { format!("copy:\n  - ./output/{source}:/x\n") } else { String::new() };
        let mount = if key == "mount" { format!("  - ./output/{source}:/x\n") } else { String::new() };
        scratch.project("p", &format!("runtime: node:22\n{entry}mount:\n  - ./output:/out\n{mount}"));
        scratch.sbox("p").arg("validate").assert().code(code);
    }
}

#[test]
fn warnings_do_not_stop() {
    let scratch = Scratch::new("validate-warn");
    scratch.project(
        "p",
        "runtime: node:16\ninstall: [pip install x, apt-get install y]\nenv:\n  HOME: /x\n  API_KEY: sk-123\n",
    );
    let output = scratch.sbox("p").arg("validate").output().unwrap();
    assert!(output.status.success());
    for expected in [
        "not one of the tested versions",
        "'pip' with a Node.js runtime",
        "cannot change the system",
        "managed by sbox",
        "Plain-text secret",
    ] {
        assert!(stderr(&output).contains(expected), "{expected}: {}", stderr(&output));
    }
}

#[test]
fn names_from_the_file_never_reach_the_terminal_raw() {
    let scratch = Scratch::new("validate-escape");
    scratch.project("p", "runtime: \"ruby\\e[31m\"\n\"ke\\ey\": 1\n");
    let output = scratch.sbox("p").arg("validate").output().unwrap();
    assert!(!stderr(&output).contains('\x1b'), "{}", stderr(&output));
}

#[test]
fn a_home_that_is_not_text_is_an_error_and_no_panic() {
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::new("validate-home");
    let home = scratch.root.join(std::ffi::OsStr::from_bytes(b"h\xff"));
    std::fs::create_dir_all(home.join("data")).unwrap();
    for key in ["copy", "mount"] {
        scratch.project("p", &format!("runtime: node:22\n{key}: [~/data]\n"));
        for verb in ["validate", "info", "build"] {
            let output = scratch.sbox("p").arg(verb).env("HOME", &home).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{key}, {verb}: {}", stderr(&output));
        }
        let output = scratch.sbox("p").arg("validate").env("HOME", &home).output().unwrap();
        assert!(stderr(&output).contains("'~/data' leads to a path that is not valid UTF-8"), "{}", stderr(&output));
    }
    let run = ["run", "--runtime", "node:22", "--mount", "~/data:/data", "true"];
    scratch.sbox("").args(run).env("HOME", &home).assert().code(125).stderr(contains("its path is not valid UTF-8"));
}

#[test]
fn no_project_is_said_with_what_to_do() {
    let scratch = Scratch::new("validate-none");
    scratch.sbox("").arg("validate").assert().code(1).stderr(contains("no project in")).stderr(contains("sbox init ."));
}

#[test]
fn ports_that_lead_out_are_looked_at() {
    let found = |more: &str| {
        let scratch = Scratch::new("validate-reach");
        scratch.project("p", &format!("runtime: node:22\n{more}"));
        let output = scratch.sbox("p").arg("validate").output().unwrap();
        crate::common::stderr(&output) + &crate::common::stdout(&output)
    };
    for (more, wanted) in [
        ("network: none\nreach: [x]\n", "[reach[0]] Invalid port: 'x'"),
        ("network: {allow: [a.org]}\nreach: [3128]\n", "[reach[0]] Port 3128 inside is the proxy's"),
        ("network: none\nreach: ['1:80', '2:80']\n", "[reach[1]] Port 80 inside is another entry's"),
        ("network: none\nports: ['9:80']\nreach: [80]\n", "[reach[0]] Port 80 inside is that of a server"),
        ("reach: [80]\n", "[reach] 'reach' has no meaning with the host's network"),
    ] {
        assert!(found(more).contains(wanted), "{more}: {}", found(more));
    }
    assert!(!found("network: none\nreach: [5432, '8080:80']\n").contains("reach"));
}
