use crate::common::daemons::{Standing, long_nap};
use crate::common::http::{Server, send};
use crate::common::skip::skip;
use crate::common::{Scratch, becomes, need_program, need_python, need_sandbox, running, stderr, stdout};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn list(project: &Standing, archive: &str) -> Vec<String> {
    let output = project.scratch.program("sbox-archive").args(["list", archive]).output().unwrap();
    stdout(&output).lines().map(|line| line.split_whitespace().nth(2).unwrap().to_owned()).collect()
}

#[test]
fn an_archive_has_what_the_manual_says_and_no_more() {
    let project = Standing::new("pack", "cmd: echo packed\n");
    for file in
        ["rootfs/home/notes", "rootfs/home/.cache/pip/x", "rootfs/tmp/x", "rootfs/home/.npm/_cacache/x", "env/bin/tool"]
    {
        project.scratch.write(&format!("p/.sbox/{file}"), "x");
    }
    project.scratch.write("p/.sbox/logs/web.log", "x");
    project.scratch.write("p/.sbox/processes.json", "[]");
    project.scratch.write("p/app/source.py", "x");
    project.sbox(&["pack"]).assert().success().stderr(contains("tar -xzf p-sbox.tar.gz"));
    // The line is for pasting, whatever the file is called.
    let pasted = contains("tar -xzf 'it'\\''s mine.tar.gz' && ");
    project.sbox(&["pack", "-o", "it's mine.tar.gz"]).assert().success().stderr(pasted);
    let names = list(&project, "p/p-sbox.tar.gz");
    for name in [
        "p/.sbox/config.yaml",
        "p/.sbox/rootfs/home/notes",
        "p/.sbox/env/bin/tool",
        "p/.sbox/SHA256SUMS",
        "p/metadata.json",
        "p/README.txt",
        "p/sbox.lock",
        "p/.sbox/rootfs/tmp/",
    ] {
        assert!(names.iter().any(|one| one == name), "{name}: {names:?}");
    }
    for part in ["_cacache", ".cache/pip", "tmp/x", "logs", "processes", "source.py"] {
        assert!(!names.iter().any(|one| one.contains(part)), "{part}: {names:?}");
    }
    // The same again is the same file; a time from outside is respected.
    let first = std::fs::read(project.scratch.path("p/p-sbox.tar.gz")).unwrap();
    project.sbox(&["pack", "-o", "again.tar.gz"]).assert().success();
    assert!(first == std::fs::read(project.scratch.path("p/again.tar.gz")).unwrap());
    project.sbox(&["pack", "old.tar.gz"]).env("SOURCE_DATE_EPOCH", "1000000000").assert().success();
    let metadata = Command::new("tar")
        .args(["-xzOf", "old.tar.gz", "p/metadata.json"])
        .current_dir(project.scratch.path("p"))
        .output();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.unwrap().stdout).unwrap();
    assert_eq!(metadata["packed_at"], "2001-09-09T01:46:40Z");
    assert_eq!(metadata["original_prefix"], project.scratch.path("p").to_str().unwrap());
    assert!(metadata["sbox_version"].is_string() && metadata["checksums"][".sbox/SHA256SUMS"].is_string());
    project.sbox(&["pack", "--format", "tar.zst"]).assert().success();
    assert_eq!(list(&project, "p/p-sbox.tar.zst"), names);
    project.sbox(&["pack", "--exclude-env", "-o", "small.tar.gz"]).assert().success();
    assert!(!list(&project, "p/small.tar.gz").iter().any(|name| name.contains(".sbox/env")));
}

#[test]
fn awkward_names_and_files_are_no_obstacle_and_nothing_is_run() {
    let project = Standing::new("pack-awkward", "");
    project.scratch.write("p/.sbox/rootfs/home/a b\n$(touch PWN)", "x");
    let closed = project.scratch.write("p/.sbox/rootfs/home/closed/file", "x");
    Command::new("chmod").args(["000"]).arg(&closed).status().unwrap();
    Command::new("mkfifo").arg(project.state("rootfs/home/pipe")).status().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(project.state("rootfs/home/s")).unwrap();
    project
        .sbox(&["pack", "-o", "o $(touch PWN).tar.gz"])
        .assert()
        .success()
        .stderr(contains("skipped (not a regular file"));
    assert!(project.scratch.path("p/o $(touch PWN).tar.gz").exists() && !project.scratch.path("p/PWN").exists());
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(closed).unwrap());
    assert_eq!(mode & 0o777, 0);
    project.sbox(&["pack", "-o", "/no/such/place/x.tar.gz"]).assert().code(1);
}

#[test]
fn planted_links_bring_nothing_of_the_host_into_it() {
    let project = Standing::new("pack-links", "");
    project.scratch.write("outside/key", "precious");
    let outside = project.scratch.path("outside");
    std::os::unix::fs::symlink(&outside, project.state("rootfs/home/d")).unwrap();
    std::os::unix::fs::symlink(outside.join("key"), project.state("stage.json")).unwrap();
    project.sbox(&["pack"]).assert().success();
    let tar =
        Command::new("tar").args(["-xzOf", "p-sbox.tar.gz"]).current_dir(project.scratch.path("p")).output().unwrap();
    assert!(!stdout(&tar).contains("precious"));
    std::fs::remove_dir_all(project.state("env")).unwrap();
    std::os::unix::fs::symlink(&outside, project.state("env")).unwrap();
    let output = project.sbox(&["pack", "-o", "two.tar.gz"]).output().unwrap();
    let tar =
        Command::new("tar").args(["-xzOf", "two.tar.gz"]).current_dir(project.scratch.path("p")).output().unwrap();
    assert!(!stdout(&tar).contains("precious"), "{output:?}");
}

#[test]
fn likely_secrets_are_reported() {
    let project = Standing::new("pack-secrets", "env: {API_KEY: sk-12345, OTHER: \"${API_KEY}\"}\n");
    project.scratch.write("p/.sbox/rootfs/home/.npmrc", "//registry.example.org/:_authToken=abc\n");
    project.scratch.write("p/.sbox/rootfs/home/.ssh/deploy", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    project.scratch.write("p/.sbox/rootfs/app/node_modules/x/test.pem", "-----BEGIN RSA PRIVATE KEY-----\n");
    project.scratch.write("p/.sbox/rootfs/app/closed/key", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    let close = |place: &str| std::fs::set_permissions(project.state(place), std::fs::Permissions::from_mode(0o000));
    close("rootfs/app/closed/key").and_then(|()| close("rootfs/app/closed")).unwrap();
    let output = project.sbox(&["pack"]).output().unwrap();
    let said = crate::common::stderr(&output);
    assert_eq!(std::fs::metadata(project.state("rootfs/app/closed")).unwrap().permissions().mode() & 0o777, 0);
    assert!(said.contains("possible secrets in the archive (4):") && said.contains("API_KEY"), "{said}");
    assert!(said.contains(".npmrc (a registry's token)") && said.contains(".ssh/deploy (a private key)"), "{said}");
}

#[test]
fn what_runs_is_not_packed_unless_it_is_meant() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("pack-runs", "");
    project.start("web", &format!("exec sleep {nap}"));
    assert!(becomes(|| running("sleep", &nap) == 1));
    project.sbox(&["pack"]).assert().code(1).stderr(contains("sbox stop --all").and(contains("pack --force")));
    project.sbox(&["pack", "--force"]).assert().success();
    let bare = Standing::new("pack-bare", "");
    std::fs::remove_file(bare.state("built.json")).unwrap();
    bare.sbox(&["pack"]).assert().code(1).stderr(contains("is not built"));
}

#[test]
fn an_image_is_whole_reproducible_and_has_no_values_of_the_users() {
    let Some(project) = Standing::sandbox("pack-oci", "cmd: echo hello\nenv: {TOKEN: \"${MY_TOKEN}\", MODE: prod}\n")
    else {
        return;
    };
    project.scratch.write("p/.sbox/rootfs/home/notes", "x");
    project.scratch.write("p/.sbox/rootfs/tmp/gone", "x");
    let pack = |output: &str| {
        let mut command = project.sbox(&["pack", "--format", "oci", "-o", output]);
        command.env("MY_TOKEN", "precious").assert().success().stderr(contains("set when you run the image: TOKEN"));
    };
    pack("a.tar");
    pack("b.tar");
    let path = |name: &str| project.scratch.path("p").join(name);
    assert!(std::fs::read(path("a.tar")).unwrap() == std::fs::read(path("b.tar")).unwrap());
    std::fs::create_dir(path("image")).unwrap();
    let tar = Command::new("tar").args(["-xf", "a.tar", "-C", "image"]).current_dir(project.scratch.path("p")).status();
    assert!(tar.unwrap().success());
    let json = |text: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&text).unwrap();
    let blob = |of: &serde_json::Value| {
        let digest = of["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
        let content = std::fs::read(path("image/blobs/sha256").join(&digest)).unwrap();
        assert_eq!(libsbox::fs::sha256(&content), digest);
        assert_eq!(of["size"].as_u64().unwrap(), content.len() as u64);
        content
    };
    let index = json(std::fs::read(path("image/index.json")).unwrap());
    let manifest = json(blob(&index["manifests"][0]));
    let image = json(blob(&manifest["config"]));
    assert_eq!(image["config"]["User"], "1000:0");
    assert_eq!(image["config"]["Cmd"], serde_json::json!(["echo hello"]));
    assert_eq!(image["config"]["Labels"]["sbox.variables"], "TOKEN");
    let environment = image["config"]["Env"].to_string();
    assert!(
        environment.contains("MODE=prod") && !environment.contains("TOKEN") && !image.to_string().contains("precious")
    );
    let mut names = String::new();
    for (layer, diff) in
        manifest["layers"].as_array().unwrap().iter().zip(image["rootfs"]["diff_ids"].as_array().unwrap())
    {
        let file = project.scratch.write("layer", "");
        std::fs::write(&file, blob(layer)).unwrap();
        let plain = Command::new("gzip").arg("-dc").arg(&file).output().unwrap().stdout;
        assert_eq!(format!("sha256:{}", libsbox::fs::sha256(&plain)), diff.as_str().unwrap());
        let list = Command::new("tar").args(["-tvzf"]).arg(&file).output().unwrap();
        names += &stdout(&list);
    }
    let root = project.scratch.path("p").display().to_string();
    for part in ["usr/bin/sh", "libc.so.6", "1000/0", "/.sbox/rootfs -> /", " home/notes\n", " tmp/\n"] {
        assert!(names.contains(part), "{part}: {names}");
    }
    assert!(!names.contains("tmp/gone") && !names.contains(&root[1..]), "{names}");
    assert!(!image.to_string().contains(&root), "{image}");
    // On an image of somebody else's: this one, for want of another.
    project.sbox(&["pack", "--format", "oci", "--base", "image", "-o", "c.tar"]).assert().success();
    project.sbox(&["pack", "--format", "oci", "--base", "app", "-o", "d.tar"]).assert().code(1);
    project.sbox(&["pack", "--base", "image"]).assert().code(2);
}

/// Packs `first/p` and extracts it below `there`; the first one, with its sources, is gone.
fn sent(scratch: &Scratch, options: &[&str]) -> String {
    scratch.sbox("first/p").args(["pack", "-o", "../../p.tar.gz"]).args(options).assert().success();
    std::fs::create_dir_all(scratch.path("there")).unwrap();
    let tar = Command::new("tar").args(["-xzf", "p.tar.gz", "-C", "there"]).current_dir(&scratch.root).status();
    assert!(tar.unwrap().success());
    std::fs::remove_dir_all(scratch.path("first")).unwrap();
    scratch.read("there/p/README.txt")
}

#[test]
fn an_archive_without_the_environment_is_built_where_the_sources_are_not() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("pack-rebuild");
    scratch.write("first/p/app/main.py", "print(open('/app/made').read(), 'ran')\n");
    let install = "head -c5 /app/main.py >/app/made";
    let config =
        format!("runtime: {spec}\nprovider: host\ncopy: [./app:/app]\ninstall: [{install}]\ncmd: python main.py\n");
    scratch.project("first/p", &config);
    scratch.sbox("first/p").arg("build").assert().success();
    let readme = sent(&scratch, &["--exclude-env", "--include-cache"]);
    assert!(readme.contains("sbox unpack") && readme.contains("sbox build --offline"), "{readme}");
    let sbox = |words: &[&str]| {
        let mut command = scratch.sbox("there/p");
        // A machine that never built anything.
        command.args(words).env("SBOX_CACHE", scratch.path("empty"));
        command
    };
    sbox(&["unpack"]).assert().success().stderr(contains("sbox build"));
    sbox(&["run"]).assert().failure();
    sbox(&["build", "--offline"]).assert().success().stderr(contains("from the cache"));
    assert_eq!(stdout(&sbox(&["run"]).output().unwrap()), "print ran\n");
    sbox(&["build", "--check"]).assert().success();
    // The sources are nowhere: what was packed is what there is.
    sbox(&["build", "--force"]).assert().success().stderr(contains("stay as they are"));
    assert_eq!(stdout(&sbox(&["run"]).output().unwrap()), "print ran\n");
    // What is there again is copied again; and a project that nobody packed has no excuse.
    scratch.write("there/p/app/main.py", "print('edited')\n");
    sbox(&["build"]).assert().success();
    assert_eq!(stdout(&sbox(&["run"]).output().unwrap()), "edited\n");
    std::fs::remove_dir_all(scratch.path("there/p/app")).unwrap();
    std::fs::remove_file(scratch.path("there/p/metadata.json")).unwrap();
    sbox(&["build"]).assert().code(1).stderr(contains("ource does not exist"));
}

/// A wheel of a package `small`.
fn wheel(scratch: &Scratch) -> Vec<u8> {
    let make = r#"
import sys, zipfile
name = "small-1.0.dist-info/"
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("small.py", "NAME = 'small'\n")
    wheel.writestr(name + "METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
    wheel.writestr(name + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(name + "RECORD", "small.py,,\n%sMETADATA,,\n%sWHEEL,,\n%sRECORD,,\n" % (name, name, name))
"#;
    let file = scratch.path("small-1.0-py3-none-any.whl");
    assert!(Command::new("python3").args(["-c", make]).arg(&file).status().unwrap().success());
    std::fs::read(file).unwrap()
}

#[test]
fn what_was_installed_is_installed_again_where_there_is_no_network() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("pack-fetched");
    let small = wheel(&scratch);
    let server = Server::start(move |request, stream| match request.path() {
        "/simple/small/" => {
            let page = b"<a href='/small-1.0-py3-none-any.whl'>small-1.0-py3-none-any.whl</a>";
            send(stream, "200 OK", "Content-Type: text/html\r\n", page);
        }
        path if path.ends_with(".whl") => send(stream, "200 OK", "", &small),
        _ => send(stream, "404 Not Found", "", b""),
    });
    scratch.project(
        "first/p",
        &format!(
            "runtime: {spec}\nprovider: host\nenv: {{PIP_INDEX_URL: '{}'}}\ninstall: [pip install small]\n\
             cmd: python -c 'import small; print(small.NAME)'\n",
            server.url("simple")
        ),
    );
    scratch.sbox("first/p").arg("build").assert().success();
    // What an agent has in its cache beside it does not travel.
    scratch.write("first/p/.sbox/rootfs/home/.cache/other/file", "");
    sent(&scratch, &["--exclude-env", "--include-cache"]);
    drop(server);
    let sbox = |words: &[&str]| {
        let mut command = scratch.sbox("there/p");
        command.args(words).env("SBOX_CACHE", scratch.path("empty"));
        command
    };
    sbox(&["unpack"]).assert().success();
    let wheels = scratch.path("there/p/.sbox/rootfs/home/.cache/sbox-wheels");
    assert!(
        wheels.join("small-1.0-py3-none-any.whl").exists() && !wheels.with_file_name("other").join("file").exists()
    );
    let kept = scratch.path("wheels");
    std::fs::rename(&wheels, &kept).unwrap();
    sbox(&["build", "--offline"]).assert().code(1).stderr(contains("install command failed"));
    std::fs::rename(&kept, &wheels).unwrap();
    sbox(&["build", "--offline"]).assert().success();
    assert_eq!(stdout(&sbox(&["run"]).output().unwrap()), "small\n");
}

#[test]
fn an_archive_with_everything_is_up_to_date_where_it_is_unpacked() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("pack-whole");
    scratch.write("first/p/app/main.py", "print('ran')\n");
    scratch.project("first/p", &format!("runtime: {spec}\nprovider: host\ncopy: [./app:/app]\ncmd: python main.py\n"));
    scratch.sbox("first/p").arg("build").assert().success();
    let readme = sent(&scratch, &[]);
    assert!(readme.contains("sbox unpack") && !readme.contains("sbox build"), "{readme}");
    scratch.sbox("there/p").arg("unpack").assert().success();
    let build = scratch.sbox("there/p").args(["build", "--offline"]).output().unwrap();
    assert!(stderr(&build).contains("up to date"), "{}", stderr(&build));
    assert_eq!(stdout(&scratch.sbox("there/p").arg("run").output().unwrap()), "ran\n");
}

/// Image of `p`: the digests of its layers, and everything in them as one text.
fn layers(project: &Standing, archive: &str) -> (Vec<String>, Vec<u8>) {
    let place = project.scratch.path(&format!("unpacked-{archive}"));
    std::fs::create_dir(&place).unwrap();
    let tar =
        Command::new("tar").arg("-xf").arg(project.scratch.path("p").join(archive)).arg("-C").arg(&place).status();
    assert!(tar.unwrap().success());
    let json = |path: &std::path::Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let blob = |of: &serde_json::Value| {
        place.join("blobs/sha256").join(of["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap())
    };
    let manifest = json(&blob(&json(&place.join("index.json"))["manifests"][0]));
    let mut all = std::fs::read(blob(&manifest["config"])).unwrap();
    let mut digests = Vec::new();
    for layer in manifest["layers"].as_array().unwrap() {
        let file = std::fs::File::open(blob(layer)).unwrap();
        let plain = Command::new("gzip").arg("-dc").stdin(file).output().unwrap().stdout;
        let list = Command::new("tar").arg("-tzf").arg(blob(layer)).output().unwrap();
        let mut names: Vec<String> = stdout(&list).lines().map(str::to_owned).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "a name is twice in a layer");
        all.extend(plain);
        digests.push(layer["digest"].as_str().unwrap().to_owned());
    }
    (digests, all)
}

/// A project with a file that was copied, one that was made, and paths of the maker's in all of them.
fn image_project(name: &str) -> Standing {
    let project =
        Standing::new(name, "cmd: cat /app/main\nlimits: {memory: 512M, cpus: 0.5}\nenv: {TOKEN: \"${T}\"}\n");
    let root = project.scratch.path("p").display().to_string();
    project.scratch.write("p/.sbox/rootfs/app/main", "first\n");
    project.scratch.write("p/.sbox/rootfs/app/node_modules/made", &format!("{root}/.sbox/env/bin\n"));
    project.scratch.write("p/.sbox/rootfs/home/notes", &format!("{root}/.sbox/rootfs/home\n"));
    let tool = project.scratch.write("p/.sbox/env/bin/tool", &format!("#!/bin/sh\ncat {root}/.sbox/env/lib/x\n"));
    Command::new("chmod").arg("755").arg(tool).status().unwrap();
    project.scratch.write("p/.sbox/env/lib/x", "from the environment\n");
    // The agent has a directory where the project is in the image.
    let image = format!("/sbox{}", "_".repeat(root.len() - 5));
    project.scratch.write(&format!("p/.sbox/rootfs{image}/.sbox/x"), "x");
    let items = serde_json::json!({"app": "d", "app/main": "f 6 644 1"});
    project.scratch.write("p/.sbox/stage.json", &serde_json::json!({"fingerprint": "", "items": items}).to_string());
    project
}

#[test]
fn an_edit_of_the_sources_changes_one_small_layer_and_nothing_names_the_maker() {
    if !need_sandbox() {
        return;
    }
    let project = image_project("pack-layers");
    let pack = |output: &str| project.sbox(&["pack", "--format", "oci", "-o", output]).output().unwrap();
    let first = pack("a.tar");
    assert!(first.status.success(), "{}", stderr(&first));
    // A new build: another time, and one file that was copied is another one.
    project.scratch.write("p/.sbox/rootfs/app/main", "second\n");
    let built = project.scratch.read("p/.sbox/built.json").replace("2026-01-30", "2026-02-01");
    project.scratch.write("p/.sbox/built.json", &built);
    assert!(pack("b.tar").status.success());
    let ((before, all), (after, _)) = (layers(&project, "a.tar"), layers(&project, "b.tar"));
    assert_eq!((before.len(), &before[..3]), (4, &after[..3]), "system, environment and what was made stay");
    assert_ne!(before[3], after[3]);
    let root = project.scratch.path("p").display().to_string();
    assert!(memchr::memmem::find(&all, root.as_bytes()).is_none(), "{root} is in the image");
    assert!(memchr::memmem::find(&all, b"from the environment").is_some());
    // The Job has the limits, asks for the variable, and is all that is printed on stdout.
    let job: serde_json::Value = serde_yaml::from_str(&stdout(&first)).unwrap();
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"], serde_json::json!({"memory": "536870912", "cpu": "500m"}));
    assert_eq!(container["env"][0]["name"], "TOKEN");
    assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
    assert!(stderr(&first).contains("skopeo copy oci-archive:a.tar docker://"), "{}", stderr(&first));
}

#[test]
fn a_broken_record_of_what_was_copied_does_not_keep_an_image_from_being_made() {
    if !need_sandbox() {
        return;
    }
    let project = image_project("pack-broken");
    for broken in ["{", "[]", r#"{"fingerprint": 7, "items": [1]}"#, ""] {
        project.scratch.write("p/.sbox/stage.json", broken);
        project.sbox(&["pack", "--force", "--format", "oci", "-o", "a.tar"]).assert().success();
    }
}

#[test]
fn engines_load_unpack_and_run_an_image() {
    if !need_sandbox() || !["podman", "skopeo", "umoci"].iter().all(|program| need_program(program)) {
        return;
    }
    let project = image_project("pack-engines");
    project.sbox(&["pack", "--format", "oci", "-o", "a.tar"]).assert().success();
    let here = project.scratch.path("p");
    let run = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).current_dir(&here).output().unwrap();
        (output.status.success(), stdout(&output), stderr(&output))
    };
    let worked = |program: &str, words: &[&str]| {
        let (success, out, said) = run(program, words);
        assert!(success, "{program} {words:?}: {said}");
        out
    };
    worked("skopeo", &["copy", "--insecure-policy", "oci-archive:a.tar", "oci:layout:latest"]);
    let is_root = rustix::process::getuid().is_root();
    let rootless: &[&str] = if is_root { &[] } else { &["--rootless"] };
    worked("umoci", &[&["unpack"], rootless, &["--image", "layout:latest", "bundle"]].concat());
    assert_eq!(std::fs::read_to_string(here.join("bundle/rootfs/app/main")).unwrap(), "first\n");
    let place = |name: &str| project.scratch.path(name).display().to_string();
    // podman takes no long path for its state.
    let short = format!("/tmp/sbox-test-{}", std::process::id());
    let (graph, state) = (place("graph"), short.clone());
    let podman = |words: &[&str]| {
        let base = ["--root", &graph, "--runroot", &state, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"];
        run("podman", &[&base[..], words].concat())
    };
    let (loaded, _, said) = podman(&["load", "-i", "a.tar"]);
    if !loaded && !is_root {
        skip("without a range of user ids podman cannot hold an image of two owners");
        return;
    }
    assert!(loaded, "{said}");
    // Limits that no engine has to raise, which some hosts forbid.
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let start = [&["run", "--rm", "--network", "none", "--runtime", "runc"][..], &limits].concat();
    let (can_run, out, said) = podman(&[&start[..], &["localhost/p"]].concat());
    if !can_run {
        assert!(!said.contains("no such file") && !said.contains("not found in $PATH"), "{said}");
        skip("podman cannot start a container on this host");
        return;
    }
    assert_eq!(out, "first\n");
    let strict = ["--read-only", "--cap-drop=all", "--security-opt", "no-new-privileges"];
    for options in [&strict[..], &["--user", "54321:0"], &["--user", "54321:0", "--read-only", "--cap-drop=all"]] {
        let ran = podman(
            &[&start[..], options, &["localhost/p", "tool; cat ~/notes; echo x >/tmp/x && cat /tmp/x"]].concat(),
        );
        assert!(ran.0 && ran.1.starts_with("from the environment\n/sbox"), "{options:?}: {ran:?}");
    }
    let random = podman(&[&start[..], &["--user", "54321:0", "localhost/p", "echo mine >~/new && cat ~/new"]].concat());
    assert_eq!(random.1, "mine\n", "{random:?}");
    let several = podman(&[&start[..], &["localhost/p", "printf", "%s-", "a b", "c"]].concat());
    assert_eq!(several.1, "a b-c-", "{several:?}");
    podman(&["rmi", "--all", "--force"]);
    let _ = std::fs::remove_dir_all(short);
}
