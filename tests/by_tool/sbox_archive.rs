use crate::common::{Scratch, stderr, stdout};
use predicates::str::contains;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// A small tree, packed.
fn packed(scratch: &Scratch, name: &str) -> std::path::PathBuf {
    if !scratch.path("tree").exists() {
        let tool = scratch.write("tree/bin/tool", "#!/old/place/bin/python\n");
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o4751)).unwrap();
        scratch.write("tree/lib/plain.txt", &"text\n".repeat(100_000));
        scratch.write("tree/lib/strange\n\\name", "x");
        scratch.write(&format!("tree/{}/{}", "d".repeat(120), "f".repeat(150)), "deep");
        scratch.write("tree/tmp/gone", "x");
        symlink("tool", scratch.path("tree/bin/link")).unwrap();
        Command::new("mkfifo").arg(scratch.path("tree/pipe")).status().unwrap();
        Command::new("touch").args(["-d", "2020-05-05T05:05:05Z"]).arg(&tool).status().unwrap();
    }
    let out = scratch.path(name);
    let items = format!(
        "{}\n{}\n{}\n",
        serde_json::json!({"dst": "README.txt", "text": "hello\n"}),
        serde_json::json!({"dst": ".sbox/env", "src": scratch.path("tree"), "skip": ["tmp"]}),
        serde_json::json!({"dst": "metadata.json", "metadata": {"original_prefix": "/old/place"}}),
    );
    let options = [
        "create",
        "--name",
        "top",
        "--sums",
        ".sbox/SHA256SUMS",
        "--prefix",
        "/old/place",
        "--sites",
        ".sbox/sites.json",
        "--time",
        "1700000000",
    ];
    let mut create = scratch.program("sbox-archive");
    create.args(options).arg("-o").arg(&out).write_stdin(items).assert().success();
    out
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    stdout(&output)
}

#[test]
fn ordinary_tools_read_it_and_it_is_the_same_each_time() {
    let scratch = Scratch::new("archive");
    let archive = packed(&scratch, "a.tar.gz");
    assert_eq!(std::fs::read(&archive).unwrap(), std::fs::read(packed(&scratch, "b.tar.gz")).unwrap());
    run(Command::new("gzip").arg("-t").arg(&archive));
    std::fs::create_dir(scratch.path("out")).unwrap();
    run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(scratch.path("out")));
    run(Command::new("sha256sum")
        .args(["-c", "--quiet", "--strict", ".sbox/SHA256SUMS"])
        .current_dir(scratch.path("out/top")));
    let tool = std::fs::metadata(scratch.path("out/top/.sbox/env/bin/tool")).unwrap();
    assert_eq!((tool.mode() & 0o7777, tool.mtime()), (0o751, 1_588_655_105));
    assert_eq!(std::fs::read_link(scratch.path("out/top/.sbox/env/bin/link")).unwrap(), Path::new("tool"));
    assert_eq!(std::fs::read_dir(scratch.path("out/top/.sbox/env/tmp")).unwrap().count(), 0);
    assert!(!scratch.path("out/top/.sbox/env/pipe").exists());
    let sites: serde_json::Value = serde_json::from_str(&scratch.read("out/top/.sbox/sites.json")).unwrap();
    assert_eq!(sites["sites"], serde_json::json!([".sbox/env/bin/tool"]));
}

#[test]
fn extract_gives_back_what_went_in_and_verify_says_so() {
    let scratch = Scratch::new("archive-extract");
    let archive = packed(&scratch, "a.tar.gz");
    scratch.program("sbox-archive").arg("verify").arg(&archive).assert().success();
    let extract = || {
        let mut extract = scratch.program("sbox-archive");
        extract.args(["extract", "-C"]).arg(scratch.path("home")).arg(&archive);
        extract
    };
    extract().assert().success().stdout(contains("home/top"));
    extract().assert().code(1).stderr(contains("already exists"));
    let top = scratch.path("home/top");
    assert_eq!(std::fs::read_to_string(top.join(".sbox/env/lib/strange\n\\name")).unwrap(), "x");
    let deep = format!(".sbox/env/{}/{}", "d".repeat(120), "f".repeat(150));
    assert_eq!(std::fs::read_to_string(top.join(deep)).unwrap(), "deep");
    let verify = || {
        let mut verify = scratch.program("sbox-archive");
        verify.arg("verify").arg(&top);
        verify
    };
    verify().assert().success();
    std::fs::write(top.join(".sbox/env/lib/plain.txt"), "other").unwrap();
    std::fs::write(top.join(".sbox/env/new"), "x").unwrap();
    std::fs::remove_file(top.join(".sbox/env/bin/tool")).unwrap();
    let said = verify().output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    for line in [".sbox/env/lib/plain.txt: was changed", ".sbox/env/new: was added", ".sbox/env/bin/tool: is missing"] {
        assert!(stderr(&said).contains(line), "{line}: {}", stderr(&said));
    }
}

/// Name, kind, content or target, mode.
type Made<'a> = (&'a str, u8, &'a str, u32);

/// An archive made by hand, as GNU tar would not.
fn hostile(scratch: &Scratch, entries: &[Made<'_>]) -> std::path::PathBuf {
    let mut bytes = Vec::new();
    for (name, kind, content, mode) in entries {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let is_link = matches!(kind, b'1' | b'2');
        let size = if is_link { 0 } else { content.len() };
        header[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        header[136..147].copy_from_slice(b"00000000000");
        header[156] = *kind;
        if is_link {
            header[157..157 + content.len()].copy_from_slice(content.as_bytes());
        }
        header[257..265].copy_from_slice(b"ustar  \0");
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        bytes.extend(header);
        if !is_link {
            bytes.extend(content.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
    }
    bytes.resize(bytes.len() + 1024, 0);
    let path = scratch.path("hostile.tar");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn hostile_archives_leave_nothing_outside_and_nothing_at_all() {
    let scratch = Scratch::new("archive-hostile");
    scratch.write("outside/precious", "precious");
    let outside = scratch.path("outside");
    let to_outside = outside.to_str().unwrap();
    let file = |name| (name, b'0', "evil", 0o644);
    let dir = |name| (name, b'5', "", 0o755);
    let cases: Vec<(&str, Vec<Made<'_>>)> = vec![
        ("leads out", vec![file("/tmp/sbox-evil-absolute")]),
        ("leads out", vec![dir("top"), file("top/../../evil")]),
        ("leads out", vec![dir("top"), ("top/x", b'2', to_outside, 0o777)]),
        ("leads out", vec![dir("top"), ("top/x", b'2', "../outside", 0o777)]),
        ("twice", vec![dir("top"), ("top/x", b'2', "../outside", 0o777), file("top/x/evil")]),
        (
            "leads out",
            vec![
                ("top/metadata.json", b'0', "{\"original_prefix\": \"/\"}", 0o644),
                ("top/x", b'2', to_outside, 0o777),
            ],
        ),
        ("twice", vec![file("top/a"), file("top/a")]),
        ("twice", vec![("top/a", b'2', "b", 0o777), file("top/a")]),
        ("a hard link", vec![file("top/a"), ("top/b", b'1', "top/a", 0o644)]),
        ("a device", vec![("top/null", b'3', "", 0o666)]),
        ("a pipe", vec![("top/pipe", b'6', "", 0o666)]),
        ("more than one folder", vec![file("top/a"), file("other/b")]),
        ("twice", vec![file("top/a"), file("top/a/b")]),
        ("twice", vec![file("top/a/b"), file("top/a")]),
        ("twice", vec![file("top/a"), dir("top/a")]),
        ("leads out", vec![("top/d/e", b'2', ".", 0o777), ("top/x", b'2', "d/e/../../../y", 0o777)]),
        ("leads out", vec![("top/d/e", b'2', "..", 0o777), ("top/x", b'2', "d/e/../outside", 0o777)]),
        ("leads out", vec![("top/x", b'2', "/proc/self/root/etc/passwd", 0o777)]),
        ("leads out", vec![("top/u", b'2', "/usr", 0o777), ("top/x", b'2', "u/../etc/passwd", 0o777)]),
        (
            "leads out",
            vec![
                ("top/metadata.json", b'0', "{\"original_prefix\": \"/home/you\"}", 0o644),
                ("top/x", b'2', "/home/you/.ssh/id", 0o777),
            ],
        ),
        ("not an archive", vec![]),
    ];
    for (why, entries) in cases {
        let archive = hostile(&scratch, &entries);
        let mut extract = scratch.program("sbox-archive");
        extract.args(["extract", "-C"]).arg(scratch.home()).arg(&archive);
        extract.assert().code(1).stderr(contains(why));
        let left: Vec<_> = std::fs::read_dir(scratch.home()).unwrap().collect();
        assert!(left.is_empty(), "{why}: {left:?}");
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    assert!(!Path::new("/tmp/sbox-evil-absolute").exists());
    // Nothing of set-uid is left, and links inside are.
    let good = [dir("top"), ("top/suid", b'0', "x", 0o6755), ("top/link", b'2', "suid", 0o777)];
    let archive = hostile(&scratch, &good);
    scratch.program("sbox-archive").args(["extract", "-C"]).arg(scratch.home()).arg(&archive).assert().success();
    assert_eq!(std::fs::metadata(scratch.home().join("top/link")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn every_flipped_bit_is_noticed_or_changes_nothing() {
    let scratch = Scratch::new("archive-flips");
    scratch.write("tree/a", "content of a\n");
    scratch.write("tree/b/c", &"text\n".repeat(50));
    let items = format!("{}\n", serde_json::json!({"dst": "tree", "src": scratch.path("tree")}));
    for format in ["tar.gz", "tar.zst"] {
        let archive = scratch.path(format);
        let mut create = scratch.program("sbox-archive");
        create.args(["create", "--name", "top", "--format", format, "-o"]).arg(&archive);
        create.write_stdin(items.clone()).assert().success();
        let good = std::fs::read(&archive).unwrap();
        let extract = |bytes: &[u8], number: usize| {
            let file = scratch.path("flipped");
            std::fs::write(&file, bytes).unwrap();
            let into = scratch.path(&format!("out-{format}-{number}"));
            std::fs::create_dir(&into).unwrap();
            let mut extract = scratch.program("sbox-archive");
            let worked = extract.args(["extract", "-C"]).arg(&into).arg(&file).output().unwrap().status.success();
            let count = std::fs::read_dir(&into).unwrap().count();
            if worked {
                for file in ["a", "b/c"] {
                    let read = |place: &Path| std::fs::read(place).unwrap();
                    assert_eq!(read(&into.join("top/tree").join(file)), read(&scratch.path("tree").join(file)));
                }
            }
            assert_eq!(count, usize::from(worked));
            worked
        };
        assert!(extract(&good, 0));
        // The last four bytes are the length, or a checksum; before them most flips change something, and none may
        // change it silently.
        let mut refused = 0;
        let bits: Vec<usize> =
            (0..(good.len() - 4) * 8).step_by(7).chain((good.len() - 4) * 8..good.len() * 8).collect();
        for at in &bits {
            let mut bad = good.clone();
            bad[at / 8] ^= 1 << (at % 8);
            let taken = extract(&bad, at + 1);
            assert!(!taken || at / 8 < good.len() - 4, "{format}: byte {} bit {}", at / 8, at % 8);
            refused += usize::from(!taken);
        }
        assert!(refused * 10 > bits.len() * 8, "{format}: {refused} of {}", bits.len());
        for length in [good.len() - 1, good.len() - 4, good.len() - 9, good.len() / 2, 0] {
            assert!(!extract(&good[..length], 1_000_000 + length), "{format} cut to {length}");
        }
        assert!(!extract(&[&good[..], b"more"].concat(), 2_000_000), "{format} with something after it");
    }
}

#[test]
fn holes_stay_holes_and_a_terabyte_of_them_stops_nothing() {
    use std::os::unix::fs::FileExt;
    let scratch = Scratch::new("archive-holes");
    std::fs::create_dir(scratch.path("tree")).unwrap();
    let sparse = |name: &str, size: u64, pieces: &[(u64, &[u8])]| {
        let file = std::fs::File::create(scratch.path("tree").join(name)).unwrap();
        file.set_len(size).unwrap();
        pieces.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
        (file.metadata().unwrap().blocks() * 512, size)
    };
    let (used, _) = sparse("huge", 1 << 40, &[(7, b"begin"), (1 << 39, b"/old/place"), ((1 << 40) - 3, b"end")]);
    if used > 1 << 30 {
        return;
    }
    sparse("small", 3 << 20, &[(1 << 20, b"middle")]);
    sparse("empty", 8 << 20, &[]);
    sparse(&"n".repeat(200), 1 << 20, &[(1 << 19, b"x")]);
    let items = format!(
        "{}\n{}\n",
        serde_json::json!({"dst": ".sbox/env", "src": scratch.path("tree")}),
        serde_json::json!({"dst": "metadata.json", "metadata": {}})
    );
    let create = |output: &str| {
        let mut create = scratch.program("sbox-archive");
        create.args(["create", "--name", "top", "--sums", ".sbox/SHA256SUMS", "--prefix", "/old/place"]);
        create.args(["--sites", ".sbox/sites.json", "-o", output]).timeout(std::time::Duration::from_secs(60));
        create.write_stdin(items.clone()).assert().success();
    };
    create("a.tar.gz");
    create("b.tar.gz");
    assert!(std::fs::read(scratch.path("a.tar.gz")).unwrap() == std::fs::read(scratch.path("b.tar.gz")).unwrap());
    scratch.program("sbox-archive").args(["verify", "a.tar.gz"]).assert().success();
    let same = |top: &Path| {
        for name in ["huge", "small", "empty", &"n".repeat(200)] {
            let (first, second) = (scratch.path("tree").join(name), top.join(".sbox/env").join(name));
            let (one, two) = (std::fs::metadata(&first).unwrap(), std::fs::metadata(&second).unwrap());
            assert_eq!(one.len(), two.len(), "{name}");
            assert!(two.blocks() * 512 < 1 << 20, "{name}: {} bytes", two.blocks() * 512);
            let open = |path: &Path| std::fs::File::open(path).unwrap();
            for at in [0, 7, 1 << 19, 1 << 20, 1 << 39, (1 << 40) - 3] {
                let (mut here, mut there) = ([0; 16], [0; 16]);
                let count = open(&first).read_at(&mut here, at).unwrap();
                assert_eq!((count, here), (open(&second).read_at(&mut there, at).unwrap(), there), "{name} at {at}");
            }
        }
    };
    scratch.program("sbox-archive").args(["extract", "a.tar.gz"]).assert().success();
    same(&scratch.path("top"));
    scratch.program("sbox-archive").args(["verify", "top"]).assert().success();
    let index: serde_json::Value = serde_json::from_str(&scratch.read("top/.sbox/sites.json")).unwrap();
    assert_eq!(index["sites"], serde_json::json!([".sbox/env/huge"]));
    // A change deep in it is seen; the others are sha256sum's to check.
    std::fs::OpenOptions::new()
        .write(true)
        .open(scratch.path("top/.sbox/env/huge"))
        .unwrap()
        .write_all_at(b"!", 1 << 38)
        .unwrap();
    scratch.program("sbox-archive").args(["verify", "top"]).assert().code(1).stderr(contains("huge: was changed"));
    run(Command::new("sha256sum").args(["-c", "--quiet", ".sbox/SHA256SUMS"]).current_dir(scratch.path("top")));
    // GNU tar and Python read it; and what GNU tar writes is read, in both of its formats.
    std::fs::create_dir(scratch.path("gnu")).unwrap();
    run(Command::new("tar").args(["-xzf", "a.tar.gz", "-C", "gnu"]).current_dir(&scratch.root));
    same(&scratch.path("gnu/top"));
    for format in ["gnu", "posix"] {
        std::fs::create_dir_all(scratch.path(&format!("{format}-in"))).unwrap();
        let tar = format!("tar --sparse --format={format} -C gnu -czf {format}.tar.gz top");
        run(Command::new("sh").args(["-c", &tar]).current_dir(&scratch.root));
        let mut extract = scratch.program("sbox-archive");
        extract.args(["extract", "-C", &format!("{format}-in"), &format!("{format}.tar.gz")]).assert().success();
        same(&scratch.path(&format!("{format}-in/top")));
    }
}

#[test]
fn names_that_are_not_utf_8_are_in_the_checksums_and_in_the_index() {
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::new("archive-names");
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    std::fs::create_dir(scratch.path("tree")).unwrap();
    std::fs::write(scratch.path("tree").join(name), "/old/place\n").unwrap();
    let items = format!(
        "{}\n{}\n",
        serde_json::json!({"dst": ".sbox/env", "src": scratch.path("tree")}),
        serde_json::json!({"dst": "metadata.json", "metadata": {}})
    );
    let mut create = scratch.program("sbox-archive");
    create.args(["create", "--name", "top", "--sums", ".sbox/SHA256SUMS", "--prefix", "/old/place"]);
    create.args(["--sites", ".sbox/sites.json", "-o", "a.tar"]).write_stdin(items).assert().success();
    scratch.program("sbox-archive").args(["verify", "a.tar"]).assert().success();
    scratch.program("sbox-archive").args(["extract", "a.tar"]).assert().success();
    let top = scratch.path("top");
    run(Command::new("sha256sum").args(["-c", "--quiet", "--strict", ".sbox/SHA256SUMS"]).current_dir(&top));
    let index: libsbox::sites::SiteIndex = serde_json::from_str(&scratch.read("top/.sbox/sites.json")).unwrap();
    assert_eq!(index.places().collect::<Vec<_>>(), [Path::new(".sbox/env").join(name)]);
    std::fs::write(top.join(".sbox/env").join(name), "other").unwrap();
    scratch.program("sbox-archive").args(["verify", "top"]).assert().code(1).stderr(contains("was changed"));
}

#[test]
fn a_link_to_the_old_place_leads_to_the_new_one() {
    let scratch = Scratch::new("archive-old-links");
    let metadata = ("top/metadata.json", b'0', "{\"original_prefix\": \"/home/you/p\"}", 0o644);
    let link = ("top/venv/python", b'2', "/home/you/p/.sbox/env/bin/python", 0o777);
    let archive = hostile(&scratch, &[metadata, link]);
    scratch.program("sbox-archive").args(["extract", "-C"]).arg(scratch.home()).arg(&archive).assert().success();
    let top = scratch.home().join("top");
    assert_eq!(std::fs::read_link(top.join("venv/python")).unwrap(), top.join(".sbox/env/bin/python"));
}

#[test]
fn nothing_is_twice_in_an_archive_that_is_written() {
    let scratch = Scratch::new("archive-twice");
    scratch.write("home/me/notes", "x");
    scratch.write("home/you", "a file");
    let item = |dst: &str| serde_json::json!({"dst": dst, "text": "text"});
    let items = [
        item("home/me/p/link"),
        item("home/you/p"),
        serde_json::json!({"dst": "home", "src": scratch.home()}),
        serde_json::json!({"dst": "home", "directory": 0o755}),
        item("home/me/notes"),
    ];
    let lines: String = items.iter().map(|item| format!("{item}\n")).collect();
    let mut create = scratch.program("sbox-archive");
    create.args(["create", "--flat", "--format", "tar", "-o", "a.tar"]).write_stdin(lines);
    create.assert().success().stdout(contains("\"left_out\":[\"home/you\",\"home/me/notes\"]"));
    let list = run(Command::new("tar").args(["-tf", "a.tar"]).current_dir(&scratch.root));
    let mut names: Vec<&str> = list.lines().collect();
    assert_eq!(
        names,
        ["home/", "home/me/", "home/me/p/", "home/me/p/link", "home/you/", "home/you/p", "home/me/notes"]
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), list.lines().count());
}

#[test]
fn a_bomb_is_refused_before_it_fills_the_disk() {
    let scratch = Scratch::new("archive-bomb");
    let zeros = std::fs::File::create(scratch.path("zeros")).unwrap();
    zeros.set_len(64 << 20).unwrap();
    let tar = format!("tar -C {} -czf bomb.tar.gz --transform 's,^,top/,' zeros", scratch.root.display());
    run(Command::new("sh").args(["-c", &tar]).current_dir(&scratch.root));
    for option in ["--max-size=1M", "--max-entries=0"] {
        let mut extract = scratch.program("sbox-archive");
        extract.args(["extract", option, "-C"]).arg(scratch.home()).arg(scratch.path("bomb.tar.gz"));
        extract.assert().code(1).stderr(contains("the archive has more than"));
        assert_eq!(std::fs::read_dir(scratch.home()).unwrap().count(), 0);
    }
}

#[test]
fn wrong_usage_is_reported() {
    let scratch = Scratch::new("archive-usage");
    scratch.program("sbox-archive").assert().code(2);
    scratch.program("sbox-archive").args(["create", "--name", "a/b"]).assert().code(2);
    scratch.program("sbox-archive").args(["create", "--name", "a"]).write_stdin("nonsense\n").assert().code(2);
    let item = "{\"dst\": \"../x\", \"text\": \"\"}\n";
    scratch.program("sbox-archive").args(["create", "--name", "a", "-o", "x"]).write_stdin(item).assert().code(2);
    assert!(!scratch.path("x").exists());
}
