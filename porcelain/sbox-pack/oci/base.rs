//! An image to build on, in place of this machine's system.

use super::Blob;
use libsbox::cli;
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::fs;
use serde_json::{Value, json};
use std::path::Path;

/// An image to stand on.
#[derive(Default)]
pub struct Base {
    pub blobs: Vec<Blob>,
    pub layers: Vec<Value>,
    pub diff_ids: Vec<Value>,
    pub history: Vec<Value>,
    pub environment: Vec<String>,
}

impl Base {
    /// Reads the first image of an OCI layout, as `skopeo copy docker://debian:12 oci:DIR` makes one.
    pub fn read(layout: &Path) -> Result<Base> {
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
            if fs::is_sha256(text) { Ok(text.to_owned()) } else { Err(wrong("a digest is missing")) }
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
