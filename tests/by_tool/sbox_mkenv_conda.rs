use crate::common::conda::Place;
use crate::common::http::{Server, send};
use crate::common::{Scratch, stderr, stdout};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::path::Path;

/// The files of an environment and what is in them; without what tells when, or where from.
fn content(env: &Path, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let walk = walkdir::WalkDir::new(env).into_iter().flatten().filter(|entry| !entry.file_type().is_dir());
    let files = walk.map(|entry| {
        let place = entry.path().strip_prefix(env).unwrap().to_string_lossy().into_owned();
        let bytes = match entry.file_type().is_symlink() {
            true => std::fs::read_link(entry.path()).unwrap().as_os_str().as_encoded_bytes().to_owned(),
            false => std::fs::read(entry.path()).unwrap(),
        };
        let text = String::from_utf8_lossy(&bytes).replace(prefix, "PREFIX");
        (place, if bytes.contains(&0) { bytes } else { text.into_bytes() })
    });
    files.filter(|(place, _)| !place.starts_with("conda-meta/") && place != "greedy.txt").collect()
}

#[test]
fn runtime_and_packages_come_from_the_channel_cold_warm_and_offline() {
    let Some(place) = Place::new("conda") else { return };
    // Longer than the prefix that it is built for: what is compiled into a program has to grow.
    let long = format!("{}one", "a-long-name-for-a-directory/".repeat(5));
    for name in [&*long, "two"] {
        place.project(name, "packages: [where, 'tool<2']\n");
        let output = place.sbox(name, &["build"]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let env = place.scratch.path(name).join(".sbox/env");
        let where_is = format!("{}/share/where.txt\n", env.display());
        place.sbox(name, &["exec", "where"]).assert().success().stdout(where_is.clone());
        place.sbox(name, &["exec", "where-sh"]).assert().success().stdout(where_is);
        place.sbox(name, &["exec", "python", "-V"]).assert().success().stdout(contains(&*place.conda.python.1));
        place.sbox(name, &["exec", "pip", "--version"]).assert().success().stdout(contains(env.to_str().unwrap()));
        assert_eq!(std::fs::read_to_string(env.join("share/tool")).unwrap(), "1.0");
    }
    // Longer than anything has room for: an error, and not programs that are broken.
    let longest = format!("{}{}", "directory/".repeat(30), "x");
    place.project(&longest, "packages: [where, 'tool<2']\n");
    place.sbox(&longest, &["build"]).assert().code(1).stderr(contains("cannot work at a path of"));
    assert!(!place.scratch.path(&longest).join(".sbox/env").exists());
    let before = place.server.requests().len();
    place.project("three", "packages: [where, 'tool<2']\n");
    place.sbox("three", &["build", "--offline"]).assert().success();
    assert_eq!(place.server.requests().len(), before, "what is in the cache is not asked for again");
    assert_eq!(place.fetched(), 4);
    // Nothing of micromamba's own in the home, and no file of an environment is one of the cache's.
    assert!(!place.scratch.home().join(".conda").exists() && !place.scratch.home().join(".mambarc").exists());
    let linked = std::process::Command::new("find")
        .args([place.scratch.path("cache/runtimes"), place.scratch.path("two/.sbox/env")])
        .args(["-type", "f", "-links", "+1"])
        .output()
        .unwrap();
    assert_eq!(stdout(&linked), "");
}

#[test]
fn a_lock_gives_the_same_files_on_another_machine() {
    let Some(place) = Place::new("conda-lock") else { return };
    place.project("one", "packages: [where]\n");
    place.sbox("one", &["build"]).assert().success();
    let lock = place.scratch.read("one/sbox.lock");
    // The other machine has nothing but the configuration and the lock.
    place.strange_project("two", "packages: [where]\n");
    place.scratch.write("two/sbox.lock", &lock);
    let build = |words: &[&str]| {
        let mut command = place.sbox("two", words);
        command.env("SBOX_CACHE", place.scratch.path("other-cache"));
        command
    };
    build(&["build"]).assert().code(125).stderr(contains("asks for packages from"));
    build(&["trust"]).assert().success();
    build(&["build", "--locked", "--offline"]).assert().code(1).stderr(contains("missing in the cache: where 1.0"));
    build(&["build", "--locked"]).assert().success();
    let env = |name: &str| place.scratch.path(name).join(".sbox/env");
    let of = |name: &str| content(&env(name), env(name).to_str().unwrap());
    let (one, two) = (of("one"), of("two"));
    assert_eq!(one.keys().collect::<Vec<_>>(), two.keys().collect::<Vec<_>>());
    // pip's list of files has the hashes of those in which the path stands.
    let exempt = |place: &&String| place.ends_with(".pyc") || place.ends_with("/RECORD") || **place == "bin/where";
    for name in one.keys().filter(|name| !exempt(name)) {
        assert!(one[name] == two[name], "{name} differs");
    }
    // No path is written into what the cache has: there even the byte code is the same.
    let entry = |cache: &str| {
        let group = std::fs::read_dir(place.scratch.path(cache).join("runtimes")).unwrap().flatten();
        let group = group.map(|group| group.path()).find(|path| path.is_dir()).unwrap();
        let entry = std::fs::read_dir(group).unwrap().flatten().map(|entry| entry.path()).find(|path| path.is_dir());
        content(&entry.unwrap().join("env"), "/nowhere")
    };
    assert!(entry("cache") == entry("other-cache"), "the same lock made other files");
    // Of other packages, and then with a hash that nothing has.
    let other = place.scratch.read("two/.sbox/config.yaml").replace("[where]", "[where, tool]");
    place.scratch.project("two", &other);
    build(&["build", "--locked"])
        .assert()
        .code(1)
        .stderr(contains("was made for different runtimes, packages or channels"));
}

#[test]
fn what_has_another_hash_than_the_lock_says_is_not_taken() {
    let Some(place) = Place::new("conda-hash") else { return };
    let root = place.project("one", "packages: [tool]\n");
    place.sbox("one", &["build"]).assert().success();
    let mut lock: serde_json::Value = serde_json::from_str(&place.scratch.read("one/sbox.lock")).unwrap();
    let packages = lock["runtimes"][0]["packages"].as_array_mut().unwrap();
    let tool = packages.iter_mut().find(|package| package["name"] == "tool").unwrap();
    // MD5 as it is: that is all that micromamba looks at.
    tool["hash"] = format!("sha256:{}", "0".repeat(64)).into();
    place.scratch.write("one/sbox.lock", &lock.to_string());
    std::fs::remove_dir_all(root.join(".sbox/env")).unwrap();
    let output = place.sbox("one", &["build"]).output().unwrap();
    assert!(!output.status.success() && stderr(&output).contains("is not what its hash says"), "{}", stderr(&output));
    assert!(!root.join(".sbox/env/bin").exists());
}

#[test]
fn a_script_of_a_package_reads_nothing_reaches_nobody_and_leaves_the_cache() {
    let Some(place) = Place::new("conda-greedy") else { return };
    let secret = place.scratch.write("home/.ssh/id_rsa", "SECRET-KEY");
    place.project("one", "packages: [greedy]\n");
    let mut build = place.sbox("one", &["build"]);
    build.env("SECRET", &secret).env("AWS_SECRET_ACCESS_KEY", "SECRET-KEY");
    let output = build.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let said = place.scratch.read("one/.sbox/env/greedy.txt");
    for sign in ["SECRET-KEY", "READ-A-SECRET", "WROTE-THE-CACHE"] {
        assert!(!said.contains(sign), "{sign}: {said}");
    }
    let networks: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("net:")).map(str::trim).collect();
    assert_eq!(networks, ["lo"]);
    // That of the whole host is not among the directories it sees, nor the user's home.
    assert!(!said.contains(place.scratch.home().to_str().unwrap()), "{said}");
    let cached = std::fs::read_to_string(place.cached("tool-2.0-0/share/tool")).unwrap();
    assert_eq!(cached, "2.0");
}

#[test]
fn a_poisoned_environment_or_cache_reaches_no_neighbour() {
    let Some(place) = Place::new("conda-poison") else { return };
    place.project("one", "packages: [tool]\n");
    place.sbox("one", &["build"]).assert().success();
    place.sbox("one", &["run", "printf 6.6 > \"$CONDA_PREFIX/share/tool\""]).assert().success();
    assert_eq!(place.scratch.read("one/.sbox/env/share/tool"), "6.6");
    place.project("two", "packages: [tool]\n");
    place.sbox("two", &["build"]).assert().success();
    assert_eq!(place.scratch.read("two/.sbox/env/share/tool"), "2.0");
    // Another program of the user's has written into the package cache, without changing a size.
    std::fs::write(place.cached("tool-2.0-0/share/tool"), "6.6").unwrap();
    place.project("three", "packages: [tool, where]\n");
    let output = place.sbox("three", &["build"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(place.scratch.read("three/.sbox/env/share/tool"), "2.0");
}

#[test]
fn a_damaged_package_is_fetched_again() {
    let Some(place) = Place::new("conda-damage") else { return };
    place.project("one", "packages: [tool]\n");
    place.sbox("one", &["build"]).assert().success();
    std::fs::write(place.cached("tool-2.0-0.conda"), "half").unwrap();
    std::fs::remove_dir_all(place.cached("tool-2.0-0")).unwrap();
    std::fs::remove_dir_all(place.scratch.path("cache/runtimes")).unwrap();
    place.project("two", "packages: [tool]\n");
    let output = place.sbox("two", &["build"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(place.scratch.read("two/.sbox/env/share/tool"), "2.0");
}

#[test]
fn two_projects_at_once_on_an_empty_cache() {
    let Some(place) = Place::new("conda-two") else { return };
    place.project("one", "packages: [tool]\n");
    place.project("two", "packages: [tool, where]\n");
    std::thread::scope(|scope| {
        let both = ["one", "two"].map(|name| {
            let place = &place;
            scope.spawn(move || place.sbox(name, &["build"]).output().unwrap())
        });
        for output in both.map(|one| one.join().unwrap()) {
            assert!(output.status.success(), "{}", stderr(&output));
        }
    });
    assert_eq!(place.fetched(), 4, "what both need is fetched once");
}

#[test]
fn the_package_cache_is_used_by_one_at_a_time() {
    let Some(place) = Place::new("conda-lock") else { return };
    place.project("one", "packages: [tool]\n");
    std::fs::create_dir_all(place.scratch.path("cache")).unwrap();
    let busy = std::fs::File::create(place.scratch.path("cache/.pkgs.lock")).unwrap();
    flock(&busy, FlockOperation::LockExclusive).unwrap();
    let mut build = place.sbox("one", &["build"]);
    build.timeout(std::time::Duration::from_secs(3)).assert().interrupted();
    assert_eq!(place.fetched(), 0, "it waits");
    drop(busy);
    place.sbox("one", &["build"]).assert().success();
    // Nor is it emptied while another build uses it.
    let busy = std::fs::File::open(place.scratch.path("cache/.pkgs.lock")).unwrap();
    flock(&busy, FlockOperation::LockExclusive).unwrap();
    let mut clean = place.sbox("one", &["cache", "clean", "--all"]);
    clean.timeout(std::time::Duration::from_secs(3)).assert().interrupted();
    assert!(place.cached("tool-2.0-0").is_dir());
    drop(busy);
    place.sbox("one", &["cache", "clean", "--all"]).assert().success();
    assert!(!place.scratch.path("cache/pkgs").exists());
}

#[test]
fn errors_say_what_there_is_and_what_clashes() {
    let Some(place) = Place::new("conda-errors") else { return };
    let build = |name: &str, config: &str| {
        let root = place.project(name, config);
        let output = place.sbox(name, &["build"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(!root.join(".sbox/env").exists());
        stderr(&output)
    };
    let said = build("version", "packages: ['tool=7']\n");
    assert!(said.contains("the channels do not have 'tool 7'; they have 2.0, 1.0"), "{said}");
    let said = build("name", "packages: [tol]\n");
    assert!(said.contains("the channels have no package 'tol'"), "{said}");
    let said = build("clash", "packages: [clash, 'tool=2']\n");
    assert!(said.contains("cannot be installed together: 'clash' needs tool <2, and 'tool 2' is asked for"), "{said}");
    place.scratch.project(
        "down",
        &format!("runtime: {}\nprovider: conda\nchannels: ['http://127.0.0.1:9/x']\n", place.conda.python.0),
    );
    place.place_micromamba(&place.scratch.path("down"));
    let said = place.sbox("down", &["build"]).assert().code(1);
    said.stderr(contains("cannot reach channel 'http://127.0.0.1:9/x': '127.0.0.1:9': connection refused"))
        .stderr(contains("SBOX_CHANNEL_ALIAS"));
}

#[test]
fn a_name_is_looked_for_at_the_mirror() {
    let Some(place) = Place::new("conda-mirror") else { return };
    let root = place
        .scratch
        .project("one", &format!("runtime: {}\nprovider: conda\npackages: [tool]\n", place.conda.python.0));
    place.place_micromamba(&root);
    // The mirror has the community's channel under its name.
    std::fs::create_dir_all(place.scratch.path("mirror")).unwrap();
    std::os::unix::fs::symlink(&place.conda.channel, place.scratch.path("mirror/conda-forge")).unwrap();
    let mirror = Server::of_files(place.scratch.path("mirror"));
    place.sbox("one", &["build"]).env("SBOX_CHANNEL_ALIAS", mirror.url("")).assert().success();
    assert!(place.scratch.read("one/sbox.lock").contains(&mirror.url("conda-forge/noarch/tool-2.0-0.conda")));
}

#[test]
fn auto_takes_conda_if_it_can_and_does_not_change_later() {
    let Some(place) = Place::new("conda-auto") else { return };
    let config = |provider: &str| {
        format!("runtime: {}\n{provider}channels: ['{}']\n", place.conda.python.0, place.server.url(""))
    };
    let root = place.scratch.project("one", &config(""));
    // No micromamba and no way to it: packages and channels cannot be had from anybody else.
    place.sbox("one", &["build"]).assert().code(1).stderr(contains("'packages' and 'channels' need conda"));
    place.place_micromamba(&root);
    place.sbox("one", &["build"]).assert().success().stderr(contains("by provider 'conda'"));
    // A project that was made by another provider stays with it, although conda is there now.
    let spec = format!("runtime: {}\n", place.conda.python.0);
    let root = place.scratch.project("two", &spec);
    let mut build = place.sbox("two", &["build"]);
    build
        .assert()
        .success()
        .stderr(contains("by provider 'host'"))
        .stderr(contains("skipped provider 'conda': cannot download"));
    place.place_micromamba(&root);
    place.sbox("two", &["build", "--force"]).assert().success().stderr(contains("by provider 'host'"));
    let mut update = place.sbox("two", &["build", "--update"]);
    update.env("SBOX_CHANNEL_ALIAS", place.server.url("nothing"));
    update.assert().success().stderr(contains("by provider 'host'"));
    std::fs::create_dir_all(place.scratch.path("mirror")).unwrap();
    std::os::unix::fs::symlink(&place.conda.channel, place.scratch.path("mirror/conda-forge")).unwrap();
    let mirror = Server::of_files(place.scratch.path("mirror"));
    let mut update = place.sbox("two", &["build", "--update"]);
    update.env("SBOX_CHANNEL_ALIAS", mirror.url("")).assert().success().stderr(contains("provider: host -> conda"));
}

#[test]
fn an_update_prints_what_is_different() {
    let Some(place) = Place::new("conda-update") else { return };
    // A channel that gets a newer package: a copy whose index does not have it yet.
    let channel = place.scratch.path("channel");
    let copy = |from: &Path, to: &Path| {
        assert!(
            std::process::Command::new("cp").args(["-a", "-l"]).args([from, to]).status().unwrap().success()
                || std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap().success()
        );
    };
    copy(&place.conda.channel, &channel);
    let index = channel.join("noarch/repodata.json");
    let whole = std::fs::read_to_string(&index).unwrap();
    let mut old: serde_json::Value = serde_json::from_str(&whole).unwrap();
    old["packages.conda"].as_object_mut().unwrap().retain(|name, _| !name.starts_with("tool-2"));
    std::fs::remove_file(&index).unwrap();
    std::fs::write(&index, old.to_string()).unwrap();
    let server = Server::of_files(channel);
    let config = format!(
        "runtime: {}\nprovider: conda\nchannels: ['{}']\npackages: [tool]\ninstall: [touch made]\n",
        place.conda.python.0,
        server.url("")
    );
    let root = place.scratch.project("one", &config);
    place.place_micromamba(&root);
    place.sbox("one", &["build"]).assert().success();
    std::fs::write(&index, whole).unwrap();
    // What was locked is what is built, also from nothing.
    std::fs::remove_dir_all(root.join(".sbox/env")).unwrap();
    place.sbox("one", &["build"]).assert().success();
    assert_eq!(place.scratch.read("one/.sbox/env/share/tool"), "1.0");
    place.sbox("one", &["build", "--update"]).assert().success().stderr(contains("[INFO] tool: 1.0 -> 2.0"));
    assert_eq!(place.scratch.read("one/.sbox/env/share/tool"), "2.0");
    place
        .sbox("one", &["build", "--update"])
        .assert()
        .success()
        .stderr(contains("nothing is newer"))
        .stderr(contains("up to date"));
}

#[test]
fn both_languages_share_one_environment() {
    let Some(place) = Place::new("conda-both") else { return };
    let Some((node, version)) = &place.conda.node else {
        crate::common::skip::skip("this host has no Node.js");
        return;
    };
    let config = format!(
        "runtime: [{}, {node}]\nprovider: conda\nchannels: ['{}']\n",
        place.conda.python.0,
        place.server.url("")
    );
    let root = place.scratch.project("one", &config);
    place.place_micromamba(&root);
    let output = place.sbox("one", &["build"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    place.sbox("one", &["exec", "node", "--version"]).assert().success().stdout(format!("v{version}\n"));
    place.sbox("one", &["exec", "npm", "--version"]).assert().success();
    place.sbox("one", &["exec", "python", "-V"]).assert().success().stdout(contains(&*place.conda.python.1));
    let lock: serde_json::Value = serde_json::from_str(&place.scratch.read("one/sbox.lock")).unwrap();
    assert_eq!(lock["runtimes"].as_array().unwrap().len(), 2);
    assert_eq!(lock["runtimes"][1]["version"], **version);
}

#[test]
fn a_channel_behind_a_proxy_is_reached_through_it() {
    let Some(place) = Place::new("conda-proxy") else { return };
    let channel = place.conda.channel.clone();
    // It plays the channel as well: the name there exists nowhere.
    let proxy = Server::start(move |request, stream| {
        let path = request.path().strip_prefix("http://channel.invalid/").unwrap_or("none");
        match std::fs::read(channel.join(path)) {
            Ok(content) => send(stream, "200 OK", "", &content),
            Err(_) => send(stream, "404 Not Found", "", b"not found"),
        }
    });
    let config = format!(
        "runtime: {}\nprovider: conda\npackages: [tool]\nchannels: ['http://channel.invalid']\n",
        place.conda.python.0
    );
    place.place_micromamba(&place.scratch.project("one", &config));
    let with_password = format!("http://me:secret@127.0.0.1:{}", proxy.port);
    let mut build = place.sbox("one", &["build"]);
    build.env("HTTP_PROXY", with_password).env("SBOX_TRACE", "1");
    build.assert().success().stderr(contains("secret").not());
    assert!(proxy.requests().iter().any(|request| request.path().ends_with("tool-2.0-0.conda")));
}

#[test]
fn the_users_own_settings_are_read_only_when_asked() {
    let Some(place) = Place::new("conda-rc") else { return };
    let config = format!("runtime: {}\nprovider: conda\npackages: [tool]\nchannels: [ours]\n", place.conda.python.0);
    let root = place.scratch.project("one", &config);
    place.place_micromamba(&root);
    std::fs::create_dir_all(place.scratch.path("mirror")).unwrap();
    std::os::unix::fs::symlink(&place.conda.channel, place.scratch.path("mirror/ours")).unwrap();
    let mirror = Server::of_files(place.scratch.path("mirror"));
    let settings = place.scratch.write("home/.condarc", &format!("channel_alias: {}\n", mirror.url("")));
    place.sbox("one", &["build"]).assert().failure();
    assert!(mirror.requests().is_empty());
    place.sbox("one", &["build"]).env("SBOX_CONDARC", settings).assert().success();
    assert!(root.join(".sbox/mamba").is_dir());
}

#[test]
fn without_a_micromamba_it_refuses_and_says_why() {
    let scratch = Scratch::new("conda-none");
    let mut command = scratch.program("sbox-mkenv-conda");
    command.args(["--resolve", "node:22"]);
    command.assert().code(3).stdout(contains(r#"{"refused":"cannot download micromamba"#)).stdout(contains("curl -L"));
    let mut build = scratch.program("sbox-mkenv-conda");
    build.args(["--offline", "node:22"]).arg(scratch.path("env"));
    build.assert().code(3).stdout(contains("nothing is downloaded").and(contains("refused")));
}

#[test]
fn what_an_archive_brings_is_neither_run_nor_followed() {
    let scratch = Scratch::new("conda-archive");
    scratch.strange_project("p", "runtime: node:22\nprovider: conda\n");
    scratch.write("p/metadata.json", r#"{"format": "sbox", "original_prefix": "/somewhere/p"}"#);
    let program = scratch.write("p/.sbox/bin/micromamba", "#!/bin/sh\ntouch \"$CONDA_PKGS_DIRS/poison\"\nexit 1\n");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir(scratch.path("outside")).unwrap();
    std::os::unix::fs::symlink(scratch.path("outside"), scratch.path("p/.sbox/mamba")).unwrap();
    let run = |words: &[&str]| {
        let mut command = scratch.sbox("p");
        command.env("SBOX_CACHE", scratch.path("cache")).args(words);
        command
    };
    run(&["build"]).assert().code(125).stderr(contains("its own micromamba"));
    assert!(!scratch.path("cache/pkgs/poison").exists());
    run(&["trust"]).assert().success();
    std::fs::write(&program, "#!/bin/sh\nexit 2\n").unwrap();
    run(&["build"]).assert().code(125).stderr(contains("its own micromamba"));
    if crate::common::need_sandbox() {
        run(&["trust"]).assert().success();
        run(&["build"]).assert().code(1).stderr(contains("micromamba failed"));
        assert_eq!(std::fs::read_dir(scratch.path("outside")).unwrap().count(), 0);
        assert!(scratch.path("p/.sbox/mamba").symlink_metadata().unwrap().is_dir());
    }
}
