//! `--format oci`: the sandbox as an image of the Open Container Initiative, for engines that are there already
//! (<https://github.com/opencontainers/image-spec>).
//!
//! Four layers, each the same bytes when nothing in it changed, so that a push sends what is new: the system below (this
//! machine's shell, tools and the libraries that the sandbox loads, or a base that the user names), the environment, what
//! was made in the sandbox, and what was copied into it. Paths are those that programs see in the sandbox, but that of the
//! project itself ([`place`]).

mod base;
mod job;
mod place;
mod system;

use crate::{CACHES, Options, packed_at, secrets, written_root};
use base::Base;
use libsbox::built::Built;
use libsbox::cli;
use libsbox::config::{self, Command, Config, Piece};
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::format;
use libsbox::fs;
use libsbox::output;
use libsbox::plumbing::archive::Create;
use libsbox::plumbing::envsh;
use libsbox::plumbing::stage::Sources;
use libsbox::project::Project;
use libsbox::time;
use place::Rewritten;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Who the agent is in the image: nobody in particular, and not root. Its files belong to group 0, which engines that
/// choose a random user give to it.
const USER: &str = "1000:0";

/// The time of what has no file of the project's: a new build does not change it.
const MADE: &str = "1";

/// One word is a line for the shell, several are executed as they are: as 'sbox run' does it.
const ENTRYPOINT: &str = "[ $# -ne 1 ] || exec /bin/sh -c \"$1\"; exec \"$@\"";

/// A blob of the image: a layer, or JSON.
pub struct Blob {
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
    let old = written_root(project, lock);
    let new = place::neutral(&old);
    if let Some(covered) = ["/dev", "/proc", "/sys", "/run"].iter().find(|place| new.starts_with(place)) {
        let message = format!("a project at '{covered}' cannot be an image: engines put their own files there");
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
        let items = system::items(project)?;
        output::info(format_args!("the system below: {} files of this machine (shell, tools, libraries)", items.len()));
        layers.push(layer(&work, "system", "0:0", &items, options)?);
    }
    let rewritten = Rewritten::new(project, &old, &new, &work.0)?;
    let files = Files { project, config, rewritten: &rewritten, root: new.to_string_lossy()[1..].to_owned() };
    layers.push(layer(&work, "environment", USER, &files.environment(), options)?);
    let (made, copied) = files.rootfs()?;
    layers.push(layer(&work, "files", USER, &made, options)?);
    if !copied.is_empty() {
        layers.push(layer(&work, "copied", USER, &copied, options)?);
    }
    let (blobs, variables) = describe(project, config, lock, &mut base, layers, (&old, &new))?;
    let archive = Create::new(&output)?.flat().format("tar").time(packed_at(lock));
    archive.write(&image(&name, blobs))?;
    let size = std::fs::metadata(&output).map_or(0, |metadata| metadata.len());
    output::ok(format_args!("Packed an image into '{}' ({})", escape::visible_path(&output), format::size(size)));
    let file = escape::shell_word(&crate::file_name(&output));
    output::hint(format_args!("podman load -i {file} && podman run --rm localhost/{name}"));
    let target = format!("{}/{name}:latest", job::REGISTRY);
    output::hint(format_args!("skopeo copy oci-archive:{file} docker://{target}"));
    output::hint("the Kubernetes Job on stdout runs it there: kubectl apply -f -");
    libsbox::cli::out_line(job::job(&name, config, &variables).trim_end())
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

fn layer(work: &Work, name: &'static str, owner: &str, items: &[Value], options: &Options) -> Result<Layer> {
    let file = work.0.join(name);
    let mut archive = Create::new(&file)?.flat().digests().owner(owner).level(options.level).made_time(MADE);
    if owner == USER {
        archive = archive.group_like_owner();
    }
    if let Some(epoch) = crate::epoch() {
        archive = archive.time(epoch);
    }
    let made = archive.write(items)?;
    crate::say_left_out(&made);
    let (digest, size) = (made.sha256, made.size);
    let item = json!({"dst": format!("blobs/sha256/{digest}"), "src": file});
    Ok(Layer { blob: Blob { digest, size, item }, diff_id: made.tar_sha256, made_by: name })
}

/// The project's files, at the places where programs see them.
struct Files<'a> {
    project: &'a Project,
    config: &'a Config,
    rewritten: &'a Rewritten,
    /// The project's path in the image, without its slash.
    root: String,
}

impl Files<'_> {
    fn environment(&self) -> Vec<Value> {
        let dst = format!("{}/.sbox/env", self.root);
        let omit = texts(self.rewritten.below(Path::new("env")));
        let mut items = vec![json!({"dst": dst, "src": self.project.env(), "omit": omit})];
        for (place, src) in self.rewritten.sources(Path::new("env")) {
            items.extend(place.to_str().map(|place| json!({"dst": format!("{dst}/{place}"), "src": src})));
        }
        items
    }

    /// What was made inside, and what was copied: an edit of the sources changes the second alone.
    fn rootfs(&self) -> Result<(Vec<Value>, Vec<Value>)> {
        let copied = self.copied()?;
        // The same files at their other path: HOME is there.
        let mut made = vec![
            json!({"dst": format!("{}/.sbox/rootfs", self.root), "link": "/"}),
            json!({"dst": "tmp", "directory": 0o1777}),
        ];
        let mut ours = Vec::new();
        for entry in Dir::open(&self.project.rootfs())?.entries()? {
            let Some(name) = entry.name.to_str() else { continue };
            if name == "tmp" || self.config.mount.iter().any(|mount| mount.dst == Path::new("/").join(name)) {
                continue;
            }
            let tree = Path::new("rootfs").join(name);
            let below =
                |place: &str| place.trim_start_matches('/').strip_prefix(&format!("{name}/")).map(str::to_owned);
            let skip: Vec<String> = CACHES.into_iter().filter_map(below).collect();
            let src = self.project.rootfs().join(name);
            let mounts = self.config.mount.iter().filter_map(|mount| below(&mount.dst.to_string_lossy()));
            let mut omit: BTreeSet<String> = mounts.filter(|place| src.join(place).is_symlink()).collect();
            omit.extend(texts(self.rewritten.below(&tree)));
            let staged: BTreeSet<String> = copied.iter().filter_map(|place| below(place)).collect();
            let mut only: BTreeSet<String> = staged.difference(&omit).cloned().collect();
            let above = |place: &String| {
                Path::new(place).ancestors().skip(1).filter_map(|place| Some(place.to_str()?.to_owned())).collect()
            };
            let parents: BTreeSet<String> = staged.iter().flat_map(|place| -> Vec<String> { above(place) }).collect();
            if !staged.is_empty() {
                only.extend(parents);
                ours.push(json!({"dst": name, "src": src, "only": only}));
            }
            omit.extend(staged.iter().cloned());
            made.push(json!({"dst": name, "src": src, "skip": skip, "omit": omit}));
            for (place, src) in self.rewritten.sources(&tree) {
                let Some(place) = place.to_str() else { continue };
                let item = json!({"dst": format!("{name}/{place}"), "src": src});
                if staged.contains(place) { ours.push(item) } else { made.push(item) }
            }
        }
        Ok((made, ours))
    }

    /// Files and links that `copy` put there, as sbox-stage recorded it.
    fn copied(&self) -> Result<BTreeSet<String>> {
        let is_file = |stamp: &str| stamp.starts_with(['f', 'l']);
        // A record that is broken says nothing: all of it is what was made.
        let items = Sources::of_readable(&self.project.stage_record()).unwrap_or_default().items.into_iter();
        // A name that is written with % is not UTF-8, or has one: such a file stays with what was made.
        Ok(items.filter(|(place, stamp)| is_file(stamp) && !place.contains('%')).map(|(place, _)| place).collect())
    }
}

fn texts(places: Vec<PathBuf>) -> Vec<String> {
    places.into_iter().filter_map(|place| place.into_os_string().into_string().ok()).collect()
}

/// The blobs with the manifest, and the variables that are not in the image.
type Described = ((Vec<Blob>, Value), Vec<String>);

fn describe(
    project: &Project,
    config: &Config,
    lock: &Built,
    base: &mut Base,
    layers: Vec<Layer>,
    moved: (&Path, &Path),
) -> Result<Described> {
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
    let (environment, from_outside) = environment(project, config, &base.environment, moved)?;
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
    image["config"]["Entrypoint"] = json!(["/bin/sh", "-c", ENTRYPOINT, "sh"]);
    image["config"]["Cmd"] = match &config.cmd {
        Some(Command::Line(line)) => json!([line]),
        Some(Command::Words(words)) if words.len() == 1 => json!([escape::shell_word(&words[0])]),
        Some(Command::Words(words)) => json!(words),
        None => json!(["/bin/sh"]),
    };
    if !from_outside.is_empty() {
        output::info(format_args!("set when you run the image: {}", escape::visible(&from_outside.join(", "))));
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
    Ok(((blobs, manifest), from_outside))
}

fn text_blob(value: &Value) -> Blob {
    let text = value.to_string();
    let digest = fs::sha256(text.as_bytes());
    Blob { size: text.len() as u64, item: json!({"dst": format!("blobs/sha256/{digest}"), "text": text}), digest }
}

/// Variables with their values, and the names of those whose values come from the user: they are in no image.
fn environment(
    project: &Project,
    config: &Config,
    below: &[String],
    (old, new): (&Path, &Path),
) -> Result<(Vec<String>, Vec<String>)> {
    let all = envsh::of_image(project)?;
    let is_reference = |piece: &Piece| !matches!(piece, Piece::Text(_));
    let from_user = |value: &str| config::pieces(value).iter().any(is_reference);
    let names: Vec<String> =
        config.env.iter().filter(|(_, value)| from_user(value)).map(|(name, _)| name.clone()).collect();
    let mut out: Vec<String> =
        below.iter().filter(|pair| !all.contains_key(pair.split('=').next().unwrap_or(""))).cloned().collect();
    for (name, value) in all.iter().filter(|(name, _)| !names.contains(name)) {
        let value = value.as_str().unwrap_or_default();
        let value = [project.root(), old].iter().fold(value.to_owned(), |value, root| {
            let (root, new) = (root.display().to_string(), new.display().to_string());
            if value == root { new } else { value.replace(&format!("{root}/.sbox"), &format!("{new}/.sbox")) }
        });
        out.push(format!("{name}={value}"));
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
