//! `--format oci`: the sandbox as an image of the Open Container Initiative, for engines that are there already
//! (<https://github.com/opencontainers/image-spec>).
//!
//! Three layers, each the same bytes when nothing in it changed, so that a push sends what is new: the system below (this
//! machine's shell, tools and the libraries that the environment loads, or a base that the user names), the environment,
//! and the agent's files. Paths are those that programs see in the sandbox, so that nothing is relocated.

use crate::{CACHES, Options, create, packed_at, secrets};
use libsbox::built::Built;
use libsbox::certificates;
use libsbox::cli;
use libsbox::config::{self, Command, Config, Piece};
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::format;
use libsbox::fs;
use libsbox::output;
use libsbox::plumbing;
use libsbox::project::Project;
use libsbox::time;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Who the agent is in the image: nobody in particular, and not root.
const USER: &str = "1000:1000";

/// What a shell line can be expected to find, where this machine has it.
const TOOLS: [&str; 44] = [
    "sh", "env", "cat", "ls", "cp", "mv", "rm", "mkdir", "rmdir", "ln", "chmod", "pwd", "echo", "printf", "test", "[",
    "true", "false", "sleep", "date", "head", "tail", "sed", "grep", "xargs", "find", "uname", "id", "dirname",
    "basename", "touch", "tr", "wc", "sort", "uniq", "cut", "tee", "readlink", "realpath", "mktemp", "stat", "seq",
    "kill", "bash",
];

/// A blob of the image: a layer, or JSON.
struct Blob {
    digest: String,
    size: u64,
    item: Value,
}

/// A layer, and the digest of what it is uncompressed.
struct Layer {
    blob: Blob,
    diff_id: String,
    made_by: &'static str,
}

/// Writes the image.
pub fn pack(project: &Project, config: &Config, lock: &Built, options: &Options) -> Result<()> {
    if let Some(covered) = ["/dev", "/proc", "/sys", "/run"].iter().find(|place| project.root().starts_with(place)) {
        let message =
            format!("a project below '{covered}' cannot be an image: engines put something of their own there");
        return Err(Error::new(message).hint("move the project, and sbox build"));
    }
    let name = image_name(&project.name());
    let default = || project.root().join(format!("{name}-sbox.oci.tar"));
    let output =
        std::path::absolute(options.output.clone().unwrap_or_else(default)).context(|| "find the output".into())?;
    output::step(format_args!("Packing an image: {name}"));
    secrets::warn(project, config);
    let work = Work::new(&output)?;
    let mut base = match &options.base {
        Some(file) => Base::read(file)?,
        None => Base::default(),
    };
    let mut layers = Vec::new();
    if options.base.is_none() {
        let items = system(project)?;
        output::info(format_args!("the system below: {} files of this machine (shell, tools, libraries)", items.len()));
        layers.push(layer(&work, "system", "0:0", &items, lock, options)?);
    }
    let root = project.root().to_string_lossy().trim_start_matches('/').to_owned();
    let env = [json!({"dst": format!("{root}/.sbox/env"), "src": project.env()})];
    layers.push(layer(&work, "environment", USER, &env, lock, options)?);
    layers.push(layer(&work, "files", USER, &files(project, config, &root)?, lock, options)?);
    let blobs = describe(project, config, lock, &mut base, layers)?;
    let mut archive = plumbing::program("sbox-archive")?;
    archive
        .args(["create", "--flat", "--format", "tar", "--time", &packed_at(lock).to_string(), "--output"])
        .arg(&output);
    create(&mut archive, &image(&name, blobs))?;
    let size = std::fs::metadata(&output).map_or(0, |metadata| metadata.len());
    output::ok(format_args!("Packed an image into '{}' ({})", escape::visible_path(&output), format::size(size)));
    output::hint(format_args!("podman load -i {}, then: podman run --rm localhost/{name}", crate::file_name(&output)));
    Ok(())
}

/// A directory for layers while they are made, beside the output.
struct Work(PathBuf);

impl Work {
    fn new(output: &Path) -> Result<Work> {
        let place = fs::beside(output, "layers");
        fs::remove_tree(&place)?;
        fs::make_dirs(&place)?;
        Ok(Work(place))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_tree(&self.0);
    }
}

/// A name as registries take it: small letters, digits, and single separators.
fn image_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(plain).collect();
    let parts: Vec<&str> = name.split('-').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "sandbox".into() } else { parts.join("-") }
}

fn layer(
    work: &Work,
    name: &'static str,
    owner: &str,
    items: &[Value],
    lock: &Built,
    options: &Options,
) -> Result<Layer> {
    let file = work.0.join(name);
    let mut archive = plumbing::program("sbox-archive")?;
    archive.args(["create", "--flat", "--digests", "--owner", owner, "--level", &options.level.to_string()]);
    archive.args(["--time", &packed_at(lock).to_string(), "--output"]).arg(&file);
    let made = create(&mut archive, items)?;
    let text = |key: &str| made[key].as_str().unwrap_or_default().to_owned();
    let (digest, size) = (text("sha256"), made["size"].as_u64().unwrap_or(0));
    let item = json!({"dst": format!("blobs/sha256/{digest}"), "src": file});
    Ok(Layer { blob: Blob { digest, size, item }, diff_id: text("tar_sha256"), made_by: name })
}

/// The agent's files, at the places where programs see them.
fn files(project: &Project, config: &Config, root: &str) -> Result<Vec<Value>> {
    // The same files at their other path: HOME is there.
    let mut items = vec![json!({"dst": format!("{root}/.sbox/rootfs"), "link": "/"})];
    let dir = libsbox::dir::Dir::open(&project.rootfs())?;
    for entry in dir.entries()? {
        let name = entry.name.to_string_lossy().into_owned();
        let below = |place: &str| place.trim_start_matches('/').strip_prefix(&format!("{name}/")).map(str::to_owned);
        if name == "tmp" || config.mount.iter().any(|mount| mount.dst == Path::new("/").join(&name)) {
            continue;
        }
        let skip: Vec<String> = CACHES.into_iter().filter_map(below).collect();
        let mounts = config.mount.iter().filter_map(|mount| below(&mount.dst.to_string_lossy()));
        let omit: Vec<String> = mounts.filter(|place| project.rootfs().join(&name).join(place).is_symlink()).collect();
        items.push(json!({"dst": name, "src": project.rootfs().join(&name), "skip": skip, "omit": omit}));
    }
    items.push(json!({"dst": "tmp", "directory": 0o1777}));
    Ok(items)
}

/// This machine's part: the loader says, in the sandbox, which libraries are needed; they and some tools are taken.
fn system(project: &Project) -> Result<Vec<Value>> {
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
    const ASK: &str = r#"for place in "$@"; do find "$place" -type f \( -name '*.so*' -o -perm -u+x \) -print0; done \
        | xargs -0 -r -n 200 ldd 2>/dev/null; true"#;
    let mut spawn = plumbing::program("sbox-spawn")?;
    spawn.args(["--network", "none", "--own"]).args([&project.env(), &project.env()]);
    spawn.arg("--own").args([&project.rootfs(), &project.rootfs()]);
    spawn.args(["--", "/bin/sh", "-c", ASK, "sh"]).args([project.env(), project.rootfs()]).args(tools);
    plumbing::trace(&spawn);
    let output = plumbing::tie(&mut spawn).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.context(|| "look for libraries".into())?;
    if !output.status.success() {
        return Err(
            Error::new("cannot find out which libraries are needed").hint("name an image to stand on: --base DIR")
        );
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `libc.so.6 => /lib/x/libc.so.6 (0x...)`, and the loader itself: `/lib64/ld-linux-x86-64.so.2 (0x...)`.
    let path = |line: &str| {
        let named = line.trim().split(" (0x").next()?.rsplit(" => ").next()?.trim();
        let plain = Path::new(named).components().all(|part| part != std::path::Component::ParentDir);
        (named.starts_with('/') && plain).then(|| PathBuf::from(named))
    };
    Ok(text.lines().filter_map(path).filter(|path| libsbox::model::is_system(path) && path.is_file()).collect())
}

/// An image to stand on.
#[derive(Default)]
struct Base {
    blobs: Vec<Blob>,
    layers: Vec<Value>,
    diff_ids: Vec<Value>,
    history: Vec<Value>,
    environment: Vec<String>,
}

impl Base {
    /// Reads the first image of an OCI layout, as `skopeo copy docker://debian:12 oci:DIR` makes one.
    fn read(layout: &Path) -> Result<Base> {
        let layout = std::path::absolute(layout).context(|| "find the base".into())?;
        let wrong = |what: &str| {
            Error::new(format!("'{}' is not an OCI image layout: {what}", escape::visible_path(&layout)))
                .hint("skopeo copy docker://debian:12 oci:DIR makes one")
        };
        let json = |place: &str| -> Result<Value> {
            let text =
                fs::read_plain(&layout.join(place)).ok_or_else(|| wrong(&format!("'{place}' cannot be read")))?;
            serde_json::from_slice(&text).map_err(|_| wrong(&format!("'{place}' is not JSON")))
        };
        let digest = |value: &Value| -> Result<String> {
            let text = value["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).unwrap_or_default();
            let fits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if fits { Ok(text.to_owned()) } else { Err(wrong("a digest is missing")) }
        };
        let mut manifest = json!({"manifests": json("index.json")?["manifests"]});
        // An index may lead to another one, for several machines; the first that fits is taken.
        while let Some(all) = manifest["manifests"].as_array() {
            let ours = |one: &&Value| {
                one["platform"]["architecture"].as_str().is_none_or(|name| cli::platform().ends_with(name))
            };
            let first = all.iter().find(ours).ok_or_else(|| wrong("it has no image for this machine"))?;
            manifest = json(&format!("blobs/sha256/{}", digest(first)?))?;
        }
        let image = json(&format!("blobs/sha256/{}", digest(&manifest["config"])?))?;
        let mut base = Base::default();
        for layer in manifest["layers"].as_array().into_iter().flatten() {
            let digest = digest(layer)?;
            let place = format!("blobs/sha256/{digest}");
            let item = json!({"dst": place, "src": layout.join(&place)});
            base.blobs.push(Blob { digest, size: layer["size"].as_u64().unwrap_or(0), item });
            base.layers.push(layer.clone());
        }
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        base.diff_ids = list(&image["rootfs"]["diff_ids"]);
        base.history = list(&image["history"]);
        base.environment =
            list(&image["config"]["Env"]).iter().filter_map(|pair| Some(pair.as_str()?.to_owned())).collect();
        match base.diff_ids.len() == base.layers.len() && !base.layers.is_empty() {
            true => Ok(base),
            false => Err(wrong("layers and their digests do not match")),
        }
    }
}

fn describe(
    project: &Project,
    config: &Config,
    lock: &Built,
    base: &mut Base,
    layers: Vec<Layer>,
) -> Result<(Vec<Blob>, Value)> {
    let created = time::rfc3339(packed_at(lock));
    let mut blobs = std::mem::take(&mut base.blobs);
    let (mut listed, mut diff_ids) = (std::mem::take(&mut base.layers), std::mem::take(&mut base.diff_ids));
    let mut history = std::mem::take(&mut base.history);
    for layer in layers {
        listed.push(json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": format!("sha256:{}", layer.blob.digest), "size": layer.blob.size,
        }));
        diff_ids.push(json!(format!("sha256:{}", layer.diff_id)));
        history.push(json!({"created": created, "created_by": format!("sbox pack: {}", layer.made_by)}));
        blobs.push(layer.blob);
    }
    let (environment, from_outside) = environment(project, config, &base.environment)?;
    let mut image = json!({
        "created": created, "architecture": cli::platform().rsplit('-').next(), "os": "linux",
        "config": {
            "User": USER, "Env": environment, "WorkingDir": config.workdir,
            "Labels": {
                "org.opencontainers.image.title": project.name(),
                "org.opencontainers.image.created": created,
                "sbox.version": cli::VERSION,
                "sbox.runtime": config.runtimes.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
                "sbox.variables": from_outside.join(","),
            },
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    });
    match &config.cmd {
        Some(Command::Line(line)) => image["config"]["Entrypoint"] = json!(["/bin/sh", "-c", line]),
        Some(Command::Words(words)) => image["config"]["Entrypoint"] = json!(words),
        None => image["config"]["Cmd"] = json!(["/bin/sh"]),
    }
    if !from_outside.is_empty() {
        output::info(format_args!(
            "not in the image; set when you run it: {}",
            escape::visible(&from_outside.join(", "))
        ));
    }
    let configuration = text_blob(&image);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": format!("sha256:{}", configuration.digest), "size": configuration.size,
        },
        "layers": listed,
    });
    blobs.push(configuration);
    Ok((blobs, manifest))
}

fn text_blob(value: &Value) -> Blob {
    let text = value.to_string();
    let digest = fs::sha256(text.as_bytes());
    Blob { size: text.len() as u64, item: json!({"dst": format!("blobs/sha256/{digest}"), "text": text}), digest }
}

/// Variables with their values, and the names of those whose values come from the user: they are in no image.
fn environment(project: &Project, config: &Config, below: &[String]) -> Result<(Vec<String>, Vec<String>)> {
    let mut envsh = plumbing::program("sbox-envsh")?;
    envsh.args(["--quiet", "--format", "json", "--isolation", "engine"]).current_dir(project.root());
    // Nothing of this user's: what is passed on in a sandbox is not passed on in an image.
    envsh.env_clear().env("HOME", "/");
    let all: serde_json::Map<String, Value> =
        serde_json::from_slice(&plumbing::output(&mut envsh)?).map_err(|error| Error::new(error.to_string()))?;
    let is_reference = |piece: &Piece| !matches!(piece, Piece::Text(_));
    let from_user = |value: &str| config::pieces(value).iter().any(is_reference);
    let names: Vec<String> =
        config.env.iter().filter(|(_, value)| from_user(value)).map(|(name, _)| name.clone()).collect();
    let mut out: Vec<String> =
        below.iter().filter(|pair| !all.contains_key(pair.split('=').next().unwrap_or(""))).cloned().collect();
    for (name, value) in all.iter().filter(|(name, _)| !names.contains(name)) {
        out.push(format!("{name}={}", value.as_str().unwrap_or_default()));
    }
    Ok((out, names))
}

/// The layout (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>).
fn image(name: &str, (blobs, manifest): (Vec<Blob>, Value)) -> Vec<Value> {
    let manifest = text_blob(&manifest);
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{}", manifest.digest), "size": manifest.size,
            "annotations": {"org.opencontainers.image.ref.name": format!("localhost/{name}:latest")},
            "platform": {"architecture": cli::platform().rsplit('-').next(), "os": "linux"},
        }],
    });
    let mut items = vec![
        json!({"dst": "oci-layout", "text": "{\"imageLayoutVersion\":\"1.0.0\"}"}),
        json!({"dst": "index.json", "text": index.to_string()}),
    ];
    let mut all: Vec<Blob> = blobs.into_iter().chain([manifest]).collect();
    all.sort_by(|a, b| a.digest.cmp(&b.digest));
    all.dedup_by(|a, b| a.digest == b.digest);
    items.extend(all.into_iter().map(|blob| blob.item));
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_registries_take() {
        assert_eq!(image_name("My Agent (2)!"), "my-agent-2");
        assert_eq!(image_name("..."), "sandbox");
    }
}
