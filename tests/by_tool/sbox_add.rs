use crate::common::{Scratch, need_python, need_registries, stdout};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use std::path::Path;

/// A project with comments in its configuration, and a package that pip installs without a registry.
fn project(scratch: &Scratch) -> Option<String> {
    let spec = need_python()?;
    let config = format!(
        "# mine\nruntime: {spec}  # this one\n\ncopy:\n  - ./app:/app\n\ninstall:  # once\n  # first\n  - echo first > first\n\n# last\ncmd: python -c 'print(1)'\n"
    );
    scratch.project("p", &config);
    scratch.write("p/app/pkg/pyproject.toml", "[project]\nname = \"tiny-one\"\nversion = \"1\"\n[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n");
    scratch.write("p/app/pkg/backend.py", BACKEND);
    Some(config)
}

/// What setuptools would do for a package without code.
const BACKEND: &str = r#"
import zipfile
def build_wheel(where, config_settings=None, metadata_directory=None):
    name = "tiny_one-1-py3-none-any.whl"
    with zipfile.ZipFile(where + "/" + name, "w") as wheel:
        wheel.writestr("tiny_one.py", "here = True\n")
        info = "tiny_one-1.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: tiny-one\nVersion: 1\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(info + "RECORD", "")
    return name
"#;

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_package_is_installed_and_written_between_the_comments() {
    let scratch = Scratch::new("add");
    let Some(config) = project(&scratch) else { return };
    scratch.sbox("p").args(["add", "./pkg"]).assert().success().stderr(contains("Added ./pkg"));
    let added = config.replace("> first\n", "> first\n  - pip install ./pkg\n");
    assert_eq!(scratch.read("p/.sbox/config.yaml"), added);
    scratch.sbox("p").args(["exec", "python", "-c", "import tiny_one"]).assert().success();
    // It was built with exactly this.
    scratch.sbox("p").args(["build", "--check"]).assert().success();
    scratch.sbox("p").args(["add", "./pkg"]).assert().success().stderr(contains("was there already"));
    assert_eq!(scratch.read("p/.sbox/config.yaml"), added);
}

#[test]
fn what_cannot_be_installed_changes_nothing() {
    let scratch = Scratch::new("add-fails");
    let Some(config) = project(&scratch) else { return };
    scratch.sbox("p").arg("build").assert().success();
    let before = files(&scratch.path("p/.sbox"));
    scratch.sbox("p").args(["add", "./missing"]).assert().code(1).stderr(contains("missing"));
    assert_eq!(scratch.read("p/.sbox/config.yaml"), config);
    let left: Vec<String> = files(&scratch.path("p/.sbox")).into_iter().filter(|name| !before.contains(name)).collect();
    assert!(left.iter().all(|name| !name.contains("config")), "{left:?}");
    scratch.sbox("p").arg("build").assert().success();
    scratch.sbox("p").arg("run").assert().success().stdout("1\n");
}

#[test]
fn each_language_has_its_installer_and_a_prefix_decides() {
    let scratch = Scratch::new("add-managers");
    let dry = |config: &str, words: &[&str]| {
        scratch.project("p", config);
        let output = scratch.sbox("p").args(["add", "-n"]).args(words).output().unwrap();
        assert_eq!(scratch.read("p/.sbox/config.yaml"), config);
        stdout(&output)
    };
    let node = "runtime: node:22\n";
    assert_eq!(dry(node, &["express@5", "zod"]), "runtime: node:22\n\ninstall:\n  - npm install express@5 zod\n");
    assert_eq!(dry(node, &["-g", "@scope/cli"]), "runtime: node:22\n\ninstall:\n  - npm install -g @scope/cli\n");
    let both = "runtime: [python:3.12, node:22]\nbuild: npm ci\n";
    let wanted = "runtime: [python:3.12, node:22]\nbuild:\n  - npm ci\n  - pip install 'a>=1'\n  - npm install b\n\npackages:\n  - ffmpeg >=6\n";
    let mut lines: Vec<String> = dry(both, &["a>=1", "npm:b", "conda:ffmpeg >=6"]).lines().map(String::from).collect();
    let mut expected: Vec<String> = wanted.lines().map(String::from).collect();
    lines.sort();
    expected.sort();
    assert_eq!(lines, expected);
    assert_eq!(dry("runtime: node:22\npackages: [git]\n", &["conda:jq"]), "runtime: node:22\npackages: [git, jq]\n");
}

#[test]
fn what_is_not_a_package_is_refused() {
    let scratch = Scratch::new("add-refused");
    scratch.project("p", "runtime: node:22\ninstall: |\n  npm ci\n");
    let add = |words: &[&str]| scratch.sbox("p").arg("add").args(words).assert();
    add(&["npm:-g"]).code(2).stderr(contains("is not the name of a package"));
    add(&["npm:"]).code(2);
    add(&[]).code(2).stderr(contains("missing PACKAGE"));
    add(&["pip:requests"]).code(1).stderr(contains("has no Python").and(contains("[node:22, python:3.12]")));
    add(&["express"]).code(1).stderr(contains("cannot add to 'install'").and(contains("npm install express")));
    assert_eq!(scratch.read("p/.sbox/config.yaml"), "runtime: node:22\ninstall: |\n  npm ci\n");
    scratch.write("p/.sbox/config.yaml", "runtime: ruby:3\n");
    add(&["express"]).code(1).stderr(contains("the configuration has errors"));
}

#[test]
fn packages_of_registries_are_added_online() {
    if !need_registries() {
        return;
    }
    let scratch = Scratch::new("add-online");
    let Some(spec) = need_python() else { return };
    scratch.project("p", &format!("runtime: {spec}\n"));
    scratch.sbox_online("p").args(["add", "six==1.16.0"]).assert().success();
    let output =
        scratch.sbox("p").args(["exec", "python", "-c", "import six; print(six.__version__)"]).output().unwrap();
    assert_eq!(stdout(&output), "1.16.0\n");
    let before = scratch.read("p/.sbox/config.yaml");
    scratch.sbox_online("p").args(["add", "six==0.0.999"]).assert().code(1);
    assert_eq!(scratch.read("p/.sbox/config.yaml"), before);
}
