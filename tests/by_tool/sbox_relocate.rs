use crate::common::skip::skip;
use crate::common::{Scratch, specimens, stderr, stdout};
use predicates::str::contains;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

fn relocate(scratch: &Scratch, options: &[&str]) -> std::process::Output {
    scratch
        .program("sbox-relocate")
        .args(options)
        .args(["--from", "/old/env", "--to", "/new/longer/env"])
        .arg(scratch.path("env"))
        .output()
        .unwrap()
}

#[test]
fn text_scripts_and_links_move_with_mode_and_time() {
    let scratch = Scratch::new("relocate");
    let pip = scratch.write("env/bin/pip", "#!/old/env/bin/python\nimport pip\n");
    std::fs::set_permissions(&pip, std::fs::Permissions::from_mode(0o555)).unwrap();
    scratch.write("env/lib/pkgconfig/x.pc", "prefix=/old/env\nlibdir=/old/env/lib\n");
    scratch.write("env/lib/other", "/old/env-other\n");
    symlink("/old/env/bin/pip", scratch.path("env/bin/pip3")).unwrap();
    let before = std::fs::metadata(&pip).unwrap();
    let output = relocate(&scratch, &[]);
    assert_eq!(stdout(&output), "bin/pip\nbin/pip3\nlib/pkgconfig/x.pc\n");
    assert_eq!(scratch.read("env/bin/pip"), "#!/new/longer/env/bin/python\nimport pip\n");
    assert_eq!(scratch.read("env/lib/other"), "/old/env-other\n");
    assert_eq!(std::fs::read_link(scratch.path("env/bin/pip3")).unwrap(), Path::new("/new/longer/env/bin/pip"));
    let after = std::fs::metadata(&pip).unwrap();
    assert_eq!((after.mode() & 0o777, after.mtime(), after.mtime_nsec()), (0o555, before.mtime(), before.mtime_nsec()));
}

#[test]
fn a_dry_run_changes_nothing() {
    let scratch = Scratch::new("relocate-dry");
    scratch.write("env/x", "/old/env\n");
    assert_eq!(stdout(&relocate(&scratch, &["--dry-run"])), "x\n");
    assert_eq!(scratch.read("env/x"), "/old/env\n");
}

#[test]
fn what_cannot_move_is_named_and_left_alone() {
    let scratch = Scratch::new("relocate-stuck");
    scratch.write("env/lib.so", "\x7fELF\0/old/env/lib\0");
    let output = relocate(&scratch, &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    for part in [
        "cannot relocate 'lib.so': the new path is 7 bytes too long",
        "[ERROR] sbox-relocate: nothing was changed",
        "a path of at most 8 bytes fits",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(scratch.read("env/lib.so"), "\x7fELF\0/old/env/lib\0");
}

#[test]
fn a_hard_link_elsewhere_keeps_its_content() {
    let scratch = Scratch::new("relocate-hard");
    let file = scratch.write("env/x", "/old/env\n");
    std::fs::hard_link(file, scratch.path("neighbour")).unwrap();
    relocate(&scratch, &[]);
    assert_eq!(scratch.read("neighbour"), "/old/env\n");
    assert_eq!(scratch.read("env/x"), "/new/longer/env\n");
}

#[test]
fn planted_links_and_pipes_are_not_followed() {
    let scratch = Scratch::new("relocate-planted");
    scratch.write("outside/rc", "/old/env\n");
    std::fs::create_dir(scratch.path("env")).unwrap();
    symlink(scratch.path("outside"), scratch.path("env/bin")).unwrap();
    symlink(scratch.path("outside/rc"), scratch.path("env/rc")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(scratch.path("env/fifo")).status().unwrap().success());
    assert!(relocate(&scratch, &[]).status.success());
    assert_eq!(scratch.read("outside/rc"), "/old/env\n");
    std::fs::remove_dir_all(scratch.path("env")).unwrap();
    symlink(scratch.path("outside"), scratch.path("env")).unwrap();
    assert_eq!(relocate(&scratch, &[]).status.code(), Some(1));
    assert_eq!(scratch.read("outside/rc"), "/old/env\n");
}

#[test]
fn a_list_cannot_lead_outside() {
    let scratch = Scratch::new("relocate-list");
    scratch.write("env/a", "/old/env\n");
    scratch.write("outside", "/old/env\n");
    scratch.write("list", "../outside\0a\0gone\0/etc/passwd\0");
    let list = scratch.path("list");
    assert_eq!(stdout(&relocate(&scratch, &["--only", list.to_str().unwrap()])), "a\n");
    assert_eq!(scratch.read("outside"), "/old/env\n");
}

#[test]
fn wild_prefixes_are_wrong_usage() {
    let scratch = Scratch::new("relocate-wild");
    std::fs::create_dir(scratch.path("env")).unwrap();
    for from in ["", "/", "..", "old"] {
        scratch.program("sbox-relocate").args(["--from", from, "--to", "/x", "env"]).assert().code(2);
    }
    scratch.program("sbox-relocate").args(["--to", "/x", "env"]).assert().code(2).stderr(contains("--from"));
}

/// The two trees of a project in a move from `/old/p` to `to`.
fn both(scratch: &Scratch, to: &str, options: &[&str]) -> std::process::Output {
    let mut command = scratch.program("sbox-relocate");
    command.args(options);
    for tree in ["env", "rootfs"] {
        command.args(["--from", &format!("/old/p/.sbox/{tree}"), "--to", &format!("{to}/.sbox/{tree}")]);
    }
    command.arg(scratch.path("env")).arg("--data").arg(scratch.path("rootfs"));
    command.arg("--slots").arg(scratch.path("slots.json")).arg("--journal").arg(scratch.path("moving"));
    command.output().unwrap()
}

fn bytes(scratch: &Scratch, place: &str) -> Vec<u8> {
    std::fs::read(scratch.path(place)).unwrap()
}

fn put(scratch: &Scratch, place: &str, content: &[u8]) {
    scratch.write(place, "");
    std::fs::write(scratch.path(place), content).unwrap();
}

#[test]
fn data_keeps_every_byte_in_a_move_to_any_length_and_back() {
    for to in ["/q", "/new/p", "/a/much/longer/place/for/a/project"] {
        let scratch = Scratch::new("relocate-data");
        let specimens = specimens::data("/old/p/.sbox/env/lib");
        for (name, content) in &specimens {
            put(&scratch, &format!("env/share/{name}"), content);
            put(&scratch, &format!("rootfs/home/{name}"), content);
        }
        let program = specimens::elf(&[(".rodata", true, b"\0/old/p/.sbox/env/lib\0")]);
        put(&scratch, "rootfs/home/program", &program);
        scratch.write("rootfs/home/settings.json", "{\"env\": \"/old/p/.sbox/env\"}\n");
        scratch.write("env/etc/settings", "/old/p/.sbox/rootfs/home\n");
        let output = both(&scratch, to, &["--json"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(scratch.read("rootfs/home/settings.json"), format!("{{\"env\": \"{to}/.sbox/env\"}}\n"));
        assert_eq!(scratch.read("env/etc/settings"), format!("{to}/.sbox/rootfs/home\n"));
        for (name, content) in &specimens {
            for place in [format!("env/share/{name}"), format!("rootfs/home/{name}")] {
                assert!(bytes(&scratch, &place) == *content, "{place} changed on its way to {to}");
                // What only a debugger reads is not worth a word.
                let said = stdout(&output).contains(&format!("{{\"path\":\"{place}\",\"left\":"));
                assert_eq!(said, !place.starts_with("env") || *name != "object.o", "{place}: {}", stdout(&output));
            }
        }
        assert!(bytes(&scratch, "rootfs/home/program") == program);
    }
}

#[test]
fn strings_of_loaded_sections_change_and_those_of_debuggers_stop_nothing() {
    let scratch = Scratch::new("relocate-elf");
    let program = |path: &str, room: usize| {
        let mut text = [b"\0", path.as_bytes(), b"/lib"].concat();
        text.resize(text.len() + room, 0);
        specimens::elf(&[(".dynstr", true, &text), (".debug_line_str", false, b"/old/p/.sbox/env/src\0")])
    };
    let old = program("/old/p/.sbox/env", 1);
    put(&scratch, "env/lib/x.so", &old);
    put(&scratch, "env/lib/debug.so", &specimens::elf(&[(".debug_str", false, b"/old/p/.sbox/env\0")]));
    std::fs::create_dir(scratch.path("rootfs")).unwrap();
    assert_eq!(stdout(&both(&scratch, "/q", &[])), "env/lib/x.so\n");
    assert!(bytes(&scratch, "env/lib/x.so") == program("/q/.sbox/env", 5));
    // Longer: it is named, with how much too long the path is, and what fits.
    put(&scratch, "env/lib/x.so", &old);
    scratch.write("env/text", "/old/p/.sbox/env\n");
    scratch.write("rootfs/text", "/old/p/.sbox/env\n");
    std::fs::remove_file(scratch.path("slots.json")).unwrap();
    std::fs::remove_dir_all(scratch.path("moving")).unwrap();
    let output = both(&scratch, "/longer/p", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("'env/lib/x.so': the new path is 3 bytes too long"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("debug.so"));
    for text in ["env/text", "rootfs/text"] {
        assert_eq!(scratch.read(text), "/old/p/.sbox/env\n", "nothing is changed in either tree");
    }
}

#[test]
fn a_move_killed_at_any_moment_is_finished_by_the_next() {
    use std::process::Stdio;
    let scratch = Scratch::new("relocate-killed");
    let places: Vec<String> =
        (0..120).map(|number| format!("{}/{}/f{number}", ["env", "rootfs"][number % 2], number % 7)).collect();
    let (mut whole, mut early, mut late) = (0, 0, 0);
    // How far it has come, by what is in its directory: new files, then the journal too, then fewer and fewer.
    let staged = || std::fs::read_dir(scratch.path("moving")).map_or(0, Iterator::count);
    let has_journal = || scratch.path("moving/journal.json").exists();
    for round in 0..12 {
        let is_the_moment = || match round {
            0 => true,
            1..=4 => staged() >= round * 25,
            5 => has_journal(),
            6..=10 => has_journal() && staged() <= places.len() - (round - 5) * 20,
            _ => false,
        };
        for place in &places {
            scratch.write(place, "/old/p/.sbox/env\n");
        }
        let mut command = std::process::Command::new(crate::common::bin().join("sbox-relocate"));
        command.args(["--from", "/old/p", "--to", "/new/place", "--data"]).arg(scratch.path("rootfs"));
        command.arg("--journal").arg(scratch.path("moving")).arg(scratch.path("env"));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        while !is_the_moment() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = child.kill();
        let _ = child.wait();
        let moved = places.iter().filter(|place| scratch.read(place).starts_with("/new")).count();
        let journal = scratch.path("moving/journal.json").exists();
        assert!(moved == 0 || journal, "{moved} files moved, and nothing says so");
        whole += usize::from(moved == places.len());
        early += usize::from(moved == 0);
        late += usize::from(moved > 0 && moved < places.len());
        // The trees have moved on in the meantime.
        let mut command = scratch.program("sbox-relocate");
        command.args(["--from", "/old/p", "--to", "/other", "--data"]).arg(scratch.path("rootfs"));
        command.arg("--journal").arg(scratch.path("moving")).arg(scratch.path("env")).assert().success();
        for place in &places {
            assert_eq!(scratch.read(place), "/other/.sbox/env\n", "{place}");
        }
        std::fs::remove_dir_all(scratch.path("moving")).unwrap();
    }
    assert!(early > 0 && whole > 0, "killed before, in and after the writing: {early} {late} {whole}");
}

#[test]
fn a_move_killed_between_two_files_is_finished_and_follows_the_trees() {
    let scratch = Scratch::new("relocate-between");
    let relocate = |to: &str| {
        let mut command = scratch.program("sbox-relocate");
        command
            .args(["--from", "/old/p", "--to", to, "--journal"])
            .arg(scratch.path("moving"))
            .arg(scratch.path("env"));
        command.assert().success();
    };
    let (old, new) = ("/old/p/.sbox/env\n", "/new/place/.sbox/env\n");
    for name in ["a", "b"] {
        scratch.write(&format!("env/{name}"), old);
    }
    relocate("/new/place");
    assert_eq!([scratch.read("env/a"), scratch.read("env/b")], [new, new]);
    // As a run leaves it that is killed when 'a' is in its place and 'b' is not.
    let journal: serde_json::Value = serde_json::from_str(&scratch.read("moving/journal.json")).unwrap();
    let puts = journal["puts"].as_array().unwrap();
    let staged = puts.iter().find(|put| put[1] == serde_json::json!([b'b'])).unwrap()[2].as_u64().unwrap();
    scratch.write(&format!("moving/{staged}"), new);
    scratch.write("env/b", old);
    // Nothing but the journal knows where 'a' went.
    relocate("/other");
    for name in ["a", "b"] {
        assert_eq!(scratch.read(&format!("env/{name}")), "/other/.sbox/env\n", "{name}");
    }
}

#[test]
fn a_huge_sparse_file_takes_no_time_no_memory_and_no_space() {
    use std::os::unix::fs::FileExt;
    let scratch = Scratch::new("relocate-sparse");
    std::fs::create_dir(scratch.path("env")).unwrap();
    std::fs::create_dir(scratch.path("rootfs")).unwrap();
    let file = std::fs::File::create(scratch.path("rootfs/disk.img")).unwrap();
    if file.set_len(1 << 40).is_err() {
        skip("this file system has no files of 1 TiB");
        return;
    }
    file.write_all_at(b"/old/p/.sbox/env\0", 1 << 39).unwrap();
    let before = file.metadata().unwrap().blocks();
    // Less memory than a reader of whole files would need.
    let line = "ulimit -v 262144; exec \"$@\"";
    let output = std::process::Command::new("sh")
        .args(["-c", line, "sh"])
        .arg(crate::common::bin().join("sbox-relocate"))
        .args(["--json", "--from", "/old/p", "--to", "/q", "--data"])
        .arg(scratch.path("rootfs"))
        .arg(scratch.path("env"))
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "{\"path\":\"rootfs/disk.img\",\"left\":\"data\"}\n", "{}", stderr(&output));
    assert_eq!(file.metadata().unwrap().blocks(), before);
}

#[test]
fn text_of_any_size_and_encoding_moves() {
    let scratch = Scratch::new("relocate-text");
    std::fs::create_dir(scratch.path("env")).unwrap();
    // The path stands across every border of a piece that is read.
    let line = format!("{}/old/p/.sbox/env/bin\n", "x ".repeat(20));
    let large = line.repeat(80_000);
    scratch.write("rootfs/large.log", &large);
    let wide = |text: &str| -> Vec<u8> {
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    put(&scratch, "rootfs/wide.txt", &wide("größe: /old/p/.sbox/env\r\n"));
    put(&scratch, "rootfs/latin.txt", b"caf\xe9 /old/p/.sbox/env/x\n");
    std::fs::write(
        scratch.path("rootfs").join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"n\xff")),
        "/old/p/.sbox/env\n",
    )
    .unwrap();
    let output = both(&scratch, "/new/place", &["-0"]);
    assert!(output.stdout.windows(10).any(|part| part == b"rootfs/n\xff\0"), "{}", stdout(&output));
    assert!(scratch.read("rootfs/large.log") == large.replace("/old/p/", "/new/place/"));
    assert!(bytes(&scratch, "rootfs/wide.txt") == wide("größe: /new/place/.sbox/env\r\n"));
    assert_eq!(bytes(&scratch, "rootfs/latin.txt"), b"caf\xe9 /new/place/.sbox/env/x\n");
}

#[test]
fn what_an_agent_has_closed_moves_and_stays_closed() {
    let scratch = Scratch::new("relocate-closed");
    std::fs::create_dir(scratch.path("env")).unwrap();
    let file = scratch.write("rootfs/a/b/file", "/old/p/.sbox/env\n");
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(&file, 0o200);
    mode(&scratch.path("rootfs/a/b"), 0o000);
    mode(&scratch.path("rootfs/a"), 0o555);
    let output = both(&scratch, "/q", &[]);
    assert_eq!(stdout(&output), "rootfs/a/b/file\n", "{}", stderr(&output));
    let modes = |path: &Path| std::fs::symlink_metadata(path).unwrap().mode() & 0o777;
    assert_eq!((modes(&scratch.path("rootfs/a")), modes(&scratch.path("rootfs/a/b"))), (0o555, 0));
    mode(&scratch.path("rootfs/a/b"), 0o700);
    assert_eq!(modes(&file), 0o200);
    mode(&file, 0o600);
    assert_eq!(scratch.read("rootfs/a/b/file"), "/q/.sbox/env\n");
    mode(&scratch.path("rootfs/a"), 0o700);
}

#[test]
fn byte_code_of_a_changed_source_goes_also_at_equal_length() {
    let scratch = Scratch::new("relocate-pyc");
    std::fs::create_dir(scratch.path("rootfs")).unwrap();
    for name in ["moves", "stays"] {
        let path = if name == "moves" { "/old/p/.sbox/env" } else { "nothing" };
        scratch.write(&format!("env/lib/{name}.py"), &format!("x = '{path}'\n"));
        put(
            &scratch,
            &format!("env/lib/__pycache__/{name}.cpython-311.pyc"),
            b"\xa7\r\r\n\0\0\0\0timesize/old/p/.sbox/env",
        );
        put(&scratch, &format!("env/lib/__pycache__/{name}.cpython-312.pyc"), b"\xcb\r\r\n\x03\0\0\0hash....");
    }
    let said = stdout(&both(&scratch, "/new/p", &["--json"]));
    let there = |name: &str| scratch.path("env/lib/__pycache__").join(name).exists();
    assert_eq!(scratch.read("env/lib/moves.py"), "x = '/new/p/.sbox/env'\n");
    assert_eq!((there("moves.cpython-311.pyc"), there("moves.cpython-312.pyc")), (false, true));
    assert!(there("stays.cpython-311.pyc") && said.contains("moves.cpython-311.pyc\",\"change\":\"remove\""), "{said}");
}

#[test]
fn a_dry_run_prints_what_the_real_run_changes() {
    let scratch = Scratch::new("relocate-plan");
    let path = "/old/p/.sbox/env";
    scratch.write("env/bin/tool", &format!("#!{path}/bin/python\n"));
    scratch.write("env/lib/python3.11/site-packages/x-1.dist-info/RECORD", "../../../bin/tool,sha256=AA,9\n");
    scratch.write(
        "env/conda-meta/x-1.json",
        "{\"paths_data\": {\"paths\": [{\"_path\": \"bin/tool\", \"sha256_in_prefix\": \"0\"}]}}",
    );
    scratch.write("env/conda-meta/odd.json", "{\"paths_data\": 7}");
    put(&scratch, "env/lib/x.so", format!("\x7fELF\0{path}/lib\0").as_bytes());
    scratch.write("rootfs/home/x", &format!("{path}\n"));
    symlink(format!("{path}/bin/tool"), scratch.path("rootfs/home/link")).unwrap();
    let dry = both(&scratch, "/q", &["--json", "--dry-run"]);
    assert_eq!(scratch.read("rootfs/home/x"), format!("{path}\n"));
    assert!(!scratch.path("slots.json").exists() && !scratch.path("moving").exists());
    let real = both(&scratch, "/q", &["--json"]);
    assert_eq!(stdout(&dry), stdout(&real));
    assert_eq!(stdout(&real).lines().count(), 7, "{}", stdout(&real));
    assert!(
        scratch.read("env/conda-meta/x-1.json").contains("sha256_in_prefix")
            && !scratch.read("env/conda-meta/x-1.json").contains("\"0\"")
    );
}

#[test]
fn a_list_comes_on_stdin_too() {
    let scratch = Scratch::new("relocate-stdin");
    scratch.write("env/a", "/old/env\n");
    scratch.write("env/b", "/old/env\n");
    let mut command = scratch.program("sbox-relocate");
    command.args(["--only", "-", "--from", "/old/env", "--to", "/x"]).arg(scratch.path("env"));
    command.write_stdin("b\0").assert().success().stdout("b\n");
}
