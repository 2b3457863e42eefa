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
    extract().assert().code(1).stderr(contains("exists already"));
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
        ("leads out", vec![dir("top"), ("top/x", b'2', "../outside", 0o777), file("top/x/evil")]),
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
        ("no archive", vec![]),
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
fn wrong_usage_is_told() {
    let scratch = Scratch::new("archive-usage");
    scratch.program("sbox-archive").assert().code(2);
    scratch.program("sbox-archive").args(["create", "--name", "a/b"]).assert().code(2);
    scratch.program("sbox-archive").args(["create", "--name", "a"]).write_stdin("nonsense\n").assert().code(2);
    let item = "{\"dst\": \"../x\", \"text\": \"\"}\n";
    scratch.program("sbox-archive").args(["create", "--name", "a", "-o", "x"]).write_stdin(item).assert().code(2);
    assert!(!scratch.path("x").exists());
}
