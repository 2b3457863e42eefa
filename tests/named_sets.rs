//! `@NAME` in `allow` and `deny`: what it comes to, and that no agent has a say in it.

use crate::common::daemons::Standing;
use crate::common::{Scratch, need_program, need_python, need_sandbox, on_a_terminal, stderr, stdout};

/// The rules that `sbox info` shows: of this list and set.
fn rules(info: &serde_json::Value, list: &str, set: Option<&str>) -> Vec<String> {
    let all = info["network"].as_array().unwrap().iter();
    let of = all.filter(|rule| rule["list"] == list && rule["set"].as_str() == set);
    of.map(|rule| rule["rule"].as_str().unwrap().to_owned()).collect()
}

fn info(project: &Standing) -> serde_json::Value {
    serde_json::from_str(&project.stdout(&["info", "-j"])).unwrap()
}

/// What reaches the proxy.
fn passed(output: &std::process::Output, option: &str) -> Vec<String> {
    let text = stderr(output);
    // One of the words has several lines: what the agent may read of its limits.
    let line = text.split("trace: ").find(|line| line.contains("sbox-spawn")).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    words.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].to_owned()).collect()
}

#[test]
fn a_vendors_names_are_its_set_and_each_says_where_it_is_from() {
    let project =
        Standing::new("set-vendor", "network:\n  allow:\n    - own.invalid\n    - '@anthropic'\n  deny: [claude.ai]\n");
    let info = info(&project);
    assert_eq!(rules(&info, "allow", None), ["own.invalid"]);
    assert!(rules(&info, "allow", Some("@anthropic")).contains(&"api.anthropic.com".into()), "{info}");
    assert_eq!(rules(&info, "deny", None), ["claude.ai"]);
    let api = info["network"].as_array().unwrap().iter().find(|rule| rule["rule"] == "api.anthropic.com").unwrap();
    assert_eq!((&api["line"], &api["why"]), (&6.into(), &"models".into()));
    let text = project.stdout(&["info"]);
    assert!(text.contains("api.anthropic.com    @anthropic, models, config.yaml:6\n"), "{text}");
}

#[test]
fn an_unknown_set_is_an_error_with_a_suggestion() {
    let project = Standing::new("set-unknown", "network: {allow: ['@antropic', '@npm']}\n");
    let output = project.sbox(&["validate"]).output().unwrap();
    let text = stderr(&output) + &stdout(&output);
    assert!(text.contains("Unknown set of names '@antropic'") && text.contains("Did you mean '@anthropic'?"), "{text}");
}

#[test]
fn a_denied_name_is_denied_although_its_set_is_allowed() {
    if !need_sandbox() || !need_program("curl") {
        return;
    }
    let project = Standing::new("set-deny", "network: {allow: ['@anthropic'], deny: [api.anthropic.com]}\n");
    let ask = |name: &str| project.stdout(&["exec", "sh", "-c", &format!("curl -sS http://{name}/")]);
    assert!(ask("api.anthropic.com").contains("is denied by network.deny"));
    // Two names that nothing allows: what is refused is recorded without being asked for.
    assert!(ask("other.invalid").contains("is not allowed"));
    let table = project.stdout(&["logs", "--network"]);
    assert!(table.contains("api.anthropic.com  80 ") && table.contains("allow: [\"other.invalid\"]"), "{table}");
}

#[test]
fn a_run_on_a_terminal_ends_with_what_was_refused_and_one_elsewhere_does_not() {
    if !need_sandbox() || !need_program("curl") || !need_program("python3") {
        return;
    }
    let project = Standing::new("set-refused", "network: {allow: [ok.invalid]}\n");
    let script =
        "for name in a b a ok; do curl -s http://$name.invalid/; done >/dev/null; curl -s http://a.invalid:81/";
    let command = project.sbox(&["exec", "sh", "-c", script]);
    let seen = on_a_terminal(&command);
    assert!(seen.contains("the network refused a.invalid, b.invalid, a.invalid:81\n"), "{seen}");
    let line = "network: {allow: [\"a.invalid\", \"b.invalid\", \"a.invalid:81\"]}";
    assert!(seen.contains(line), "{seen}");
    let output = project.sbox(&["exec", "sh", "-c", script]).output().unwrap();
    assert!(!stderr(&output).contains("refused"), "{}", stderr(&output));
    // Nothing was refused: nothing is said.
    assert!(!on_a_terminal(&project.sbox(&["exec", "true"])).contains("refused"));
}

#[test]
fn a_registry_of_the_users_configuration_is_followed_without_its_password() {
    let Some(project) = Standing::sandbox("set-mirror", "network: {allow: ['@npm', '@pypi']}\n") else { return };
    project.scratch.write(
        "home/.npmrc",
        "registry=https://user:canary@mirror.invalid/npm/\n@own:registry=http://scoped.invalid:8081/\n//mirror.invalid/npm/:_authToken=canary\n",
    );
    project
        .scratch
        .write("home/.config/pip/pip.conf", "[global]\nindex-url = https://user:canary@mirror.invalid:8443/simple\n");
    let output = project
        .sbox(&["exec", "env"])
        .env("SBOX_TRACE", "1")
        .env("PIP_EXTRA_INDEX_URL", "https://more.invalid/a https://most.invalid")
        .output()
        .unwrap();
    let wanted = [
        "mirror.invalid=private",
        "scoped.invalid:8081=private",
        "mirror.invalid:8443=private",
        "more.invalid=private",
        "most.invalid=private",
    ];
    assert_eq!(passed(&output, "--allow"), wanted);
    let inside = stdout(&output);
    for line in [
        "npm_config_registry=https://mirror.invalid/npm/",
        "PIP_INDEX_URL=https://mirror.invalid:8443/simple",
        "PIP_EXTRA_INDEX_URL=https://more.invalid/a https://most.invalid",
    ] {
        assert!(inside.lines().any(|own| own == line), "{line}: {inside}");
    }
    assert!(!inside.contains("canary") && !stderr(&output).contains("canary"));
    // The control: nothing of it without the sets.
    project.scratch.write("p/.sbox/config.yaml", "runtime: node:22\nworkdir: /\nnetwork: {allow: [x.invalid]}\n");
    let output = project.sbox(&["exec", "env"]).env("SBOX_TRACE", "1").output().unwrap();
    assert_eq!(passed(&output, "--allow"), ["x.invalid"]);
    assert!(!stdout(&output).contains("mirror.invalid"));
}

#[test]
fn the_configurations_own_variables_come_before_the_users_files() {
    let project = Standing::new(
        "set-variables",
        "network: {allow: ['@npm', '@pypi']}\nenv:\n  NPM_CONFIG_REGISTRY: 'https://${PLACE}/'\n  PIP_INDEX_URL: https://ours.invalid/simple\n",
    );
    project.scratch.write("home/.npmrc", "registry=https://users.invalid\n");
    let output = project.sbox(&["info", "-j"]).env("PLACE", "named.invalid").output().unwrap();
    let info: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(rules(&info, "allow", Some("@npm")), ["named.invalid"]);
    assert_eq!(rules(&info, "allow", Some("@pypi")), ["ours.invalid"]);
}

#[test]
fn no_agent_chooses_what_a_set_stands_for() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("set-agent");
    scratch.project("p", &format!("runtime: {spec}\nnetwork: {{allow: ['@pypi']}}\n"));
    scratch.sbox("p").arg("build").assert().success();
    let rules = || {
        let output = scratch.sbox("p").args(["exec", "true"]).env("SBOX_TRACE", "1").output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        passed(&output, "--allow")
    };
    // pip's own: where it looks, and where the files are.
    let before = rules();
    assert!(!before.is_empty() && before.iter().all(|rule| !rule.contains('=')), "{before:?}");
    let own = stdout(
        &scratch
            .sbox("p")
            .args(["exec", "python", "-c", "import pip._internal.models.index as i; print(i.PyPI.netloc)"])
            .output()
            .unwrap(),
    );
    assert!(before.contains(&own.trim().to_owned()), "{before:?} {own}");
    let attack = "import pip._internal.models.index as i, os
text = open(i.__file__).read().replace(i.PyPI.netloc, 'evil.invalid')
os.remove(i.__file__)
open(i.__file__, 'w').write(text)
os.makedirs(os.path.expanduser('~/.config/pip'))
for place in ['~/.config/pip/pip.conf', '~/.pip.conf', os.environ['CONDA_PREFIX'] + '/pip.conf']:
    open(os.path.expanduser(place), 'w').write('[global]\\nindex-url = https://evil.invalid/simple\\n')
";
    scratch.sbox("p").args(["exec", "python", "-c", attack]).assert().success();
    let asked = scratch.sbox("p").args(["exec", "pip", "config", "get", "global.index-url"]).output().unwrap();
    assert!(stdout(&asked).contains("evil.invalid"), "the control: {}", stderr(&asked));
    assert_eq!(rules(), before);
    // A build that has nothing to do does not ask again, and one that makes the environment again asks a fresh one.
    scratch.sbox("p").args(["build"]).assert().success();
    assert_eq!(rules(), before);
    scratch.sbox("p").args(["build", "--force"]).assert().success();
    assert_eq!(rules(), before);
}
