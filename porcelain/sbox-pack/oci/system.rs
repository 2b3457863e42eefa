//! The system below an image: this machine's shell, some tools, and the libraries that are needed.

use libsbox::certificates;
use libsbox::error::{Context, Error, Result};
use libsbox::model::NetworkMode;
use libsbox::plumbing::{self, spawn::Spawn};
use libsbox::project::Project;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What a shell line can be expected to find, where this machine has it.
const TOOLS: [&str; 44] = [
    "sh", "env", "cat", "ls", "cp", "mv", "rm", "mkdir", "rmdir", "ln", "chmod", "pwd", "echo", "printf", "test", "[",
    "true", "false", "sleep", "date", "head", "tail", "sed", "grep", "xargs", "find", "uname", "id", "dirname",
    "basename", "touch", "tr", "wc", "sort", "uniq", "cut", "tee", "readlink", "realpath", "mktemp", "stat", "seq",
    "kill", "bash",
];

/// Libraries that libc itself loads by name, later: nobody is linked against them.
const LATE: [&str; 4] = ["libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"];

/// This machine's part: the loader says, in the sandbox, which libraries are needed; they and some tools are taken.
pub fn items(project: &Project) -> Result<Vec<Value>> {
    let tools: Vec<PathBuf> =
        TOOLS.iter().map(|tool| Path::new("/usr/bin").join(tool)).filter(|tool| tool.is_file()).collect();
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in tools.iter().cloned().chain(libraries(project, &tools)?) {
        // As it is named, in the directory where it really is: on most systems /lib is a link to /usr/lib.
        let directory = path.parent().and_then(|parent| parent.canonicalize().ok());
        let (Some(directory), Ok(real)) = (directory, path.canonicalize()) else { continue };
        if let (Some(name), true) = (path.file_name(), libsbox::model::is_system(&real)) {
            files.insert(directory.join(name).to_string_lossy().trim_start_matches('/').to_owned(), real);
        }
    }
    let mut items: Vec<Value> = files.into_iter().map(|(dst, src)| json!({"dst": dst, "src": src})).collect();
    for link in ["bin", "lib", "lib64", "sbin"] {
        if let Ok(target) = std::fs::read_link(Path::new("/").join(link)) {
            items.push(json!({"dst": link, "link": target}));
        }
    }
    let account = |root: &str, agent: &str| format!("root:x:0:{root}\nagent:x:1000:{agent}\n");
    items.push(json!({"dst": "etc/passwd", "text": account("0:root:/:/bin/sh", "1000:agent:/home:/bin/sh")}));
    items.push(json!({"dst": "etc/group", "text": account("", "")}));
    items.push(json!({"dst": "etc/nsswitch.conf", "text": "passwd: files\ngroup: files\nhosts: files dns\n"}));
    if let Some(bundle) = certificates::system_bundle() {
        let real = Path::new(bundle).canonicalize().context(|| format!("read '{bundle}'"))?;
        items.push(json!({"dst": bundle.trim_start_matches('/'), "src": real}));
    }
    Ok(items)
}

/// What the loader would load for the tools and for everything in the environment. The environment is an agent's: the loader
/// runs confined, and what it says is taken for no more than a list of the system's own files.
fn libraries(project: &Project, tools: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    const ASK: &str = r#"for place in "$@"; do find "$place" -type f \( -name '*.so*' -o -name '*.node' -o -perm -u+x \) -print0; done \
        | xargs -0 -r -n 200 ldd 2>/dev/null; true"#;
    let (env, rootfs) = (project.env(), project.rootfs());
    let spawn = Spawn::new()?.network_mode(NetworkMode::None).bind_nofollow(&env, &env).bind_nofollow(&rootfs, &rootfs);
    let shell = ["/bin/sh", "-c", ASK, "sh"].map(PathBuf::from);
    let words = shell.iter().chain([&env, &rootfs]).chain(tools).map(OsString::from);
    let mut spawn = spawn.command(&words.collect::<Vec<_>>());
    plumbing::trace(&spawn);
    let output = plumbing::die_with_parent(&mut spawn).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.context(|| "look for libraries".into())?;
    if !output.status.success() {
        return Err(Error::new("cannot find out which libraries are needed").hint("name a base image: --base DIR"));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `libc.so.6 => /lib/x/libc.so.6 (0x...)`, and the loader itself: `/lib64/ld-linux-x86-64.so.2 (0x...)`.
    let path = |line: &str| {
        let named = line.trim().split(" (0x").next()?.rsplit(" => ").next()?.trim();
        let plain = Path::new(named).components().all(|part| part != std::path::Component::ParentDir);
        (named.starts_with('/') && plain).then(|| PathBuf::from(named))
    };
    let mut found: BTreeSet<PathBuf> = text.lines().filter_map(path).collect();
    let beside = |path: &PathBuf| path.ends_with("libc.so.6").then(|| path.parent().map(Path::to_owned)).flatten();
    let directories: BTreeSet<PathBuf> = found.iter().filter_map(beside).collect();
    found.extend(directories.iter().flat_map(|directory| LATE.iter().map(|name| directory.join(name))));
    Ok(found.into_iter().filter(|path| libsbox::model::is_system(path) && path.is_file()).collect())
}
