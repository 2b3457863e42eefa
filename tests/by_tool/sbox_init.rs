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
    init(&scratch).assert().code(1).stderr(contains("is a project already"));
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
