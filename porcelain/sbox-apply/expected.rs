//! A digest of everything that would be applied. Who was shown a list gives it back, and gets just that or nothing: the agent
//! may be at work between the look and the answer.

use crate::write::Shown;
use libsbox::cow::{Change, Layer, Node, Tree, What};
use libsbox::error::{Error, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use sha2::{Digest, Sha256};
use std::io::Read;

/// The largest file whose content is digested: nobody reads a larger one before they say yes.
const LARGEST: u64 = 1 << 30;

/// The digest, and those of the contents that it is of: each is compared once more when it is written.
pub fn digest(plans: &[(&Layer, Vec<Change>)]) -> Result<(String, Shown)> {
    let (mut all, mut shown) = (Sha256::new(), Shown::new());
    for (layer, plan) in plans {
        let mut tree = Tree::layer(&layer.changes())?;
        add(&mut all, layer.src().as_os_str().as_encoded_bytes());
        add(&mut all, layer.dst().as_os_str().as_encoded_bytes());
        let mut plan: Vec<&Change> = plan.iter().collect();
        plan.sort_by(|one, other| one.path.cmp(&other.path));
        for change in plan {
            add(&mut all, change.path.as_os_str().as_encoded_bytes());
            // The difference is one of both sides. A directory of the host changes with everything in it.
            let old = change.old.as_ref().map(|old| (old.id, if old.is_directory() { 0 } else { old.ctime }));
            add(&mut all, format!("{old:?}").as_bytes());
            let Some(new) = &change.new else { continue };
            add(&mut all, format!("{:?} {:o}", new.what, new.mode).as_bytes());
            if let Some(content) = content(change, new, &mut tree)? {
                add(&mut all, content.as_bytes());
                shown.insert(layer.src().join(&change.path), content);
            }
        }
    }
    Ok((fs::hex(&all.finalize()), shown))
}

/// Each part with its length: where one ends and the next begins is not for the agent to say.
fn add(all: &mut Sha256, part: &[u8]) {
    all.update((part.len() as u64).to_le_bytes());
    all.update(part);
}

fn content(change: &Change, new: &Node, tree: &mut Tree) -> Result<Option<String>> {
    let failed = || Error::new(format!("cannot read '{}'", visible_path(&change.path)));
    match new.what {
        What::File if new.size > LARGEST => {
            let path = visible_path(&change.path);
            Err(Error::new(format!("'{path}' is too large to be bound to what was shown"))
                .hint(format!("apply it by itself: sbox apply {path}")))
        }
        What::File => {
            let file = tree.file(&change.path)?;
            fs::sha256_of(&mut file.take(new.size)).map(Some).map_err(|_| failed())
        }
        What::Link => Ok(Some(fs::sha256(tree.link(&change.path)?.as_os_str().as_encoded_bytes()))),
        _ => Ok(None),
    }
}
