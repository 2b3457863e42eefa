use crate::common::Scratch;
use predicates::str::contains;

#[test]
fn makes_what_the_readme_says() {
    let scratch = Scratch::new("init");
    scratch.program("sbox-init").args(["myapp", "--runtime", "python:3.11"]).assert().success().stdout("");
    for file in [".sbox/config.yaml", ".sbox/logs", "app/main.py", "app/requirements.txt", ".gitignore"] {
        assert!(scratch.path("myapp").join(file).exists(), "{file}");
    }
    scratch.program("sbox").args(["-C", "myapp", "validate"]).assert().success();
}

#[test]
fn a_node_project_has_no_trace_of_python() {
    let scratch = Scratch::new("init-node");
    scratch.program("sbox-init").args(["-r", "node:22", "My (App)"]).assert().success();
    let config = scratch.read("My (App)/.sbox/config.yaml");
    assert!(config.contains("npm install") && !config.contains("pip") && !config.contains("python"), "{config}");
    let package: serde_json::Value = serde_json::from_str(&scratch.read("My (App)/app/package.json")).unwrap();
    assert_eq!(package["name"], "my--app-");
}

#[test]
fn the_current_directory_becomes_a_project_with_its_sources_untouched() {
    let scratch = Scratch::new("init-here");
    scratch.write("p/main.py", "print('mine')\n");
    scratch.write("p/requirements.txt", "\n");
    scratch.write("p/.gitignore", "*.pyc");
    let init = |scratch: &Scratch| {
        let mut command = scratch.program("sbox-init");
        command.current_dir(scratch.path("p")).args([".", "-r", "python:3.11"]);
        command
    };
    init(&scratch).assert().success();
    assert_eq!(scratch.read("p/main.py"), "print('mine')\n");
    assert!(scratch.read("p/.sbox/config.yaml").contains("mount:\n  - .:/work:cow\nworkdir: /work\n"));
    assert_eq!(scratch.read("p/.gitignore"), "*.pyc\n/.sbox/*\n!/.sbox/config.yaml\n");
    assert!(!scratch.path("p/app").exists());
    init(&scratch).assert().code(1).stderr(contains("is already a project"));
    scratch.write("p/.sbox/config.yaml", "runtime: node:22\n");
    init(&scratch).arg("--force").assert().success();
    assert!(scratch.read("p/.sbox/config.yaml").contains("python:3.11"));
    assert_eq!(scratch.read("p/main.py"), "print('mine')\n");
}

#[test]
fn an_absolute_name_is_where_it_says() {
    let scratch = Scratch::new("init-absolute");
    scratch.program("sbox-init").arg("-r").arg("node:22").arg(scratch.path("a/b")).assert().success();
    assert!(scratch.path("a/b/.sbox/config.yaml").is_file());
}

#[test]
fn impossible_names_and_runtimes_are_refused_before_anything_is_made() {
    let scratch = Scratch::new("init-bad");
    for name in ["a:b", "a\nb", "a$(x)", "a\"b"] {
        scratch.program("sbox-init").args(["-r", "node:22", name]).assert().code(1).stderr(contains("project path"));
    }
    scratch.program("sbox-init").args(["-r", "ruby:3", "p"]).assert().code(2).stderr(contains("'ruby:3'"));
    scratch.program("sbox-init").assert().code(2).stderr(contains("missing NAME"));
    assert_eq!(std::fs::read_dir(&scratch.root).unwrap().count(), 1, "only the home");
}

#[test]
fn sources_are_copied_when_that_is_said() {
    let scratch = Scratch::new("init-copy");
    scratch.write("p/main.py", "print(1)\n");
    scratch.sbox("p").args(["init", "--copy", "-r", "python:3.11", "."]).assert().success();
    assert!(scratch.read("p/.sbox/config.yaml").contains("copy:\n  - .:/app\nworkdir: /app\n"));
}

/// The configuration that `sbox init .` proposes for these files.
fn proposed(files: &[(&str, &str)]) -> String {
    let scratch = Scratch::new("init-proposes");
    scratch.write("p/.keep", "");
    for (name, text) in files {
        scratch.write(&format!("p/{name}"), text);
    }
    scratch.sbox("p").args(["init", "."]).assert().success();
    scratch.sbox("p").args(["validate", "-q"]).assert().success();
    scratch.read("p/.sbox/config.yaml")
}

fn install(config: &str) -> Vec<&str> {
    let lines = config.lines().skip_while(|line| *line != "install:").skip(1);
    lines.map_while(|line| line.strip_prefix("  - ")).collect()
}

#[test]
fn files_of_node_say_the_version_and_who_installs() {
    let config = proposed(&[(".nvmrc", "v20.11.1\n"), ("package.json", "{}"), ("package-lock.json", "{}")]);
    assert!(config.contains("runtime: node:20.11.1\n") && config.contains("cmd: npm start\n"), "{config}");
    assert_eq!(install(&config), ["npm ci"]);
    let package = r#"{"engines": {"node": "^20.9 || 18"}, "packageManager": "pnpm@9.1.0+sha512.x"}"#;
    let config = proposed(&[("package.json", package), ("pnpm-lock.yaml", "")]);
    assert!(config.contains("runtime: node:20\n"), "{config}");
    assert_eq!(install(&config), ["npx --yes pnpm@9.1.0 install --frozen-lockfile"]);
    let config = proposed(&[("package.json", "{}"), ("yarn.lock", "# yarn lockfile v1\n")]);
    assert_eq!(install(&config), ["npx --yes yarn install --frozen-lockfile"]);
    let config = proposed(&[("package.json", "{}"), ("yarn.lock", "__metadata:\n  version: 8\n")]);
    assert_eq!(install(&config), ["npx --yes @yarnpkg/cli-dist install --immutable"]);
    // What a stranger wrote there does not become a command.
    let package = r#"{"packageManager": "pnpm@9; rm -rf /", "engines": {"node": "$(x)"}}"#;
    let config = proposed(&[("package.json", package), ("pnpm-lock.yaml", "")]);
    assert_eq!(install(&config), ["npx --yes pnpm install --frozen-lockfile"]);
    assert!(config.contains("runtime: node:22\n"), "{config}");
}

#[test]
fn files_of_python_say_the_version_and_who_installs() {
    let config = proposed(&[(".python-version", "# pyenv\n3.11.4\n"), ("requirements.txt", "\n"), ("app.py", "")]);
    assert!(config.contains("runtime: python:3.11.4\n") && config.contains("cmd: python app.py\n"), "{config}");
    assert_eq!(install(&config), ["pip install -r requirements.txt"]);
    let project = "[project]\nname = \"x\"\nrequires-python = \">=3.9,<3.10\"  # old\n";
    let config = proposed(&[("pyproject.toml", project)]);
    assert!(config.contains("runtime: python:3.9\n"), "{config}");
    assert_eq!(install(&config), ["pip install -e ."]);
    let config = proposed(&[("pyproject.toml", project), ("uv.lock", "")]);
    assert!(install(&config)[0].contains("uv export --frozen"), "{config}");
    let config =
        proposed(&[("pyproject.toml", "[tool.poetry.dependencies]\npython = \"~3.10\"\n"), ("poetry.lock", "")]);
    assert!(config.contains("runtime: python:3.10\n") && install(&config)[0].contains("poetry install"), "{config}");
}

#[test]
fn a_directory_of_two_languages_gets_both() {
    let files =
        [("pyproject.toml", "[project]\nrequires-python = \"==3.12.*\"\n"), (".nvmrc", "22"), ("package.json", "{}")];
    let config = proposed(&files);
    assert!(config.contains("runtime: [python:3.12, node:22]\n"), "{config}");
    assert_eq!(install(&config), ["pip install -e .", "npm install"]);
    let scratch = Scratch::new("init-two");
    scratch.program("sbox-init").args(["-r", "node:22", "-r", "python:3.12", "p"]).assert().success();
    assert!(scratch.read("p/.sbox/config.yaml").contains("runtime: [node:22, python:3.12]\n"));
}
