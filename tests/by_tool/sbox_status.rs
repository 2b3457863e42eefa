use crate::common::{Scratch, need_python, stdout};
use predicates::str::contains;

#[test]
fn it_tells_what_is_and_what_changed() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("status");
    scratch.write("p/app/main.py", "print(1)\n");
    scratch.project("p", &format!("runtime: {spec}\ncopy: ['./app:/app']\ncmd: python main.py\n"));
    let state = || {
        let json: serde_json::Value =
            serde_json::from_str(&stdout(&scratch.sbox("p").args(["status", "--json"]).output().unwrap())).unwrap();
        (
            json["built"].as_bool().unwrap(),
            json["up_to_date"].as_bool().unwrap(),
            json["state"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(state(), (false, false, "Not built".into()));
    scratch.sbox("p").arg("build").assert().success();
    assert_eq!(state(), (true, true, "Up to date".into()));
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&scratch.sbox("p").args(["status", "--json"]).output().unwrap())).unwrap();
    assert_eq!(json["upToDate"], json["up_to_date"]);
    assert_eq!(json["buildInfo"]["builtAt"], json["build_info"]["built_at"]);
    assert!(json["build_info"]["built_at"].is_string());
    scratch
        .sbox("p")
        .arg("status")
        .assert()
        .success()
        .stdout(contains("│ Status:    ✓ Built"))
        .stdout(contains("│ State:     Up to date"))
        .stdout(contains("namespace"));
    scratch.write("p/app/main.py", "print(2)\n");
    assert_eq!(state(), (true, false, "Sources changed, rebuild recommended".into()));
    scratch.sbox("p").arg("build").assert().success();
    let config = scratch.read("p/.sbox/config.yaml");
    scratch.write("p/.sbox/config.yaml", &format!("{config}network: none\nmount: [\"/usr/share:/data:ro\"]\n"));
    assert_eq!(state(), (true, true, "Up to date".into()), "what is read at each start needs no build");
    scratch.sbox("p").arg("build").assert().success().stderr(contains("is up to date"));
    scratch.write("p/.sbox/config.yaml", &format!("{config}env: {{A: 1}}\n"));
    assert_eq!(state().2, "Config changed, rebuild recommended");
}

#[test]
fn outside_of_a_project_it_fails() {
    Scratch::new("status-none").program("sbox-status").assert().code(1).stderr(contains("no project in"));
}
