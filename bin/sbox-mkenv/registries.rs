//! What npm and pip have built in: where they get packages if nobody says otherwise.
//!
//! Their own code is asked, in a sandbox without a network, right after an environment was copied from the cache and before
//! anything else runs in it: later an agent could have changed the answer, and with it what `@npm` lets it reach. The cache
//! remembers the answer.

use libsbox::cache::{self, Entry};
use libsbox::dir::Dir;
use libsbox::plumbing::{self, spawn};
use libsbox::registries::Registries;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

/// Asks the environment in `directory`, which sees itself at `prefix`. `entries` are what it was copied from, or what it is.
pub fn of(entries: &[&Entry], directory: &Path, prefix: &Path) -> Registries {
    // What came with an archive is not ours to believe.
    let own = |entry: &&Entry| cache::root().is_ok_and(|root| entry.path.starts_with(root));
    let known = |entry: &&Entry| cache::registries(entry).filter(|_| own(entry));
    let known: Option<Vec<Registries>> = entries.iter().map(known).collect();
    if let Some(known) = known {
        let mut all = Registries::default();
        known.into_iter().for_each(|one| {
            all.npm.extend(one.npm);
            all.pypi.extend(one.pypi);
        });
        return all;
    }
    if !entries.iter().all(own) {
        return Registries::default();
    }
    let answer = ask(directory, prefix);
    if let [entry] = entries {
        remember(entry, &answer);
    }
    answer
}

/// A cache that cannot be written is asked again the next time.
fn remember(entry: &Entry, answer: &Registries) {
    let Ok(text) = serde_json::to_vec(answer) else { return };
    let put = |dir: Dir| dir.put_file(cache::REGISTRIES.as_ref(), 0o644, |file| file.write_all(&text));
    let _ = Dir::open(&entry.path).and_then(put);
}

fn ask(directory: &Path, prefix: &Path) -> Registries {
    let has = |program: &str| directory.join("bin").join(program).symlink_metadata().is_ok();
    let npm = "npm_config_userconfig=/dev/null npm_config_update_notifier=false npm config get registry";
    let pip = "exec python3 -I -c 'import pip._internal.models.index as i
print(i.PyPI.simple_url)
print(\"https://\" + i.PyPI.file_storage_domain)'";
    Registries {
        npm: if has("npm") { addresses(directory, prefix, npm) } else { Vec::new() },
        pypi: if has("python3") { addresses(directory, prefix, pip) } else { Vec::new() },
    }
}

/// The lines that a script printed, if each is an address.
fn addresses(directory: &Path, prefix: &Path, script: &str) -> Vec<String> {
    let Ok(mut command) = spawn::in_read_only_prefix(directory, prefix, &["sh", "-c", script].map(Into::into)) else {
        return Vec::new();
    };
    plumbing::trace(&command);
    let output = plumbing::die_with_parent(&mut command).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
    if lines.iter().all(|line| line.starts_with("https://") || line.starts_with("http://")) {
        lines
    } else {
        Vec::new()
    }
}
