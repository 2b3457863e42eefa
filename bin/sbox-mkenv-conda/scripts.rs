//! Post-link scripts of packages. micromamba runs them, and says nothing of how they end; and it waits for whatever they leave
//! in the background. So each is started by a few lines of ours, which stand in its place while packages are linked.

use crate::micromamba::Micromamba;
use crate::pkgs::stem;
use crate::script::Script;
use libsbox::dir::Dir;
use libsbox::error::{Error, Result};
use libsbox::escape::visible;
use libsbox::fs;
use libsbox::lockfile::Package;
use libsbox::output;
use serde_json::Value;
use std::io::Write;

/// Where how they ended is noted, below the home.
const FAILED: &str = "scripts/failed";

/// Finds the scripts of packages that are about to be linked.
pub fn prepare(mamba: &Micromamba, packages: &[Package]) -> Result<Vec<Script>> {
    let mut scripts = Vec::new();
    for package in packages {
        let place = format!("bin/.{}-post-link.sh", package.name);
        let folder = mamba.cache.place(package).folder;
        let Some(original) = fs::read_plain(&folder.join(&place)) else { continue };
        let content = with_prefix(original, &folder, &place, &mamba.prefix().to_string_lossy());
        let (host, inside) = mamba.home();
        fs::make_dirs(&host.join("scripts"))?;
        let name = stem(package).unwrap_or(&package.name);
        let of = |end: &str| (host.join(format!("scripts/{name}{end}")), inside.join(format!("scripts/{name}{end}")));
        let ((script, script_inside), (starter, _), (_, said)) = (of(".sh"), of(".start"), of(".out"));
        fs::write_atomic(&script, &content, 0o644)?;
        let (failed, said) = (inside.join(FAILED), said.display().to_string());
        let lines =
            starter_of(&package.name, &script_inside.display().to_string(), &said, &failed.display().to_string());
        fs::write_atomic(&starter, lines.as_bytes(), 0o755)?;
        let Some(cached) = mamba.seen(&folder.join(&place)) else { continue };
        scripts.push(Script { package: package.name.clone(), stem: name.to_owned(), place, content, starter, cached });
    }
    Ok(scripts)
}

/// The lines that start a script: sourced, as micromamba does it; with its own end noted, and with nothing that micromamba
/// waits for in the hands of what it leaves behind.
fn starter_of(name: &str, script: &str, said: &str, failed: &str) -> String {
    format!(
        "(\n\
         trap 'code=$?; [ $code = 0 ] || echo \"{name} $code\" >>{failed}' EXIT\n\
         exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-\n\
         . {script}\n\
         ) </dev/null >{said} 2>&1\n\
         code=$?\n\
         cat {said} >&2\n\
         (exit $code)\n"
    )
}

/// A script with the prefix in place of what it was built with.
fn with_prefix(content: Vec<u8>, folder: &std::path::Path, place: &str, prefix: &str) -> Vec<u8> {
    let paths: Option<Value> =
        fs::read_plain(&folder.join("info/paths.json")).and_then(|text| serde_json::from_slice(&text).ok());
    let entry = paths.as_ref().and_then(|paths| paths["paths"].as_array()?.iter().find(|path| path["_path"] == place));
    let placeholder = entry.and_then(|entry| entry["prefix_placeholder"].as_str()).filter(|text| !text.is_empty());
    match (placeholder, std::str::from_utf8(&content)) {
        (Some(placeholder), Ok(text)) => text.replace(placeholder, prefix).into_bytes(),
        _ => content,
    }
}

/// Puts the scripts back, and reports those that failed.
pub fn finish(mamba: &Micromamba, scripts: &[Script]) -> Result<()> {
    if scripts.is_empty() {
        return Ok(());
    }
    let env = Dir::open(&mamba.env())?;
    for script in scripts {
        let Ok(bin) = env.sub("bin") else { continue };
        let name = script.place.trim_start_matches("bin/");
        if bin.stat(name.as_ref())?.is_some() {
            bin.put_file(name.as_ref(), 0o755, |file| file.write_all(&script.content))?;
            note_hash(&env, script)?;
        }
    }
    report(mamba, scripts);
    Ok(())
}

/// The hash of what is there now: micromamba noted that of our lines.
fn note_hash(env: &Dir, script: &Script) -> Result<()> {
    let name = std::ffi::OsString::from(format!("{}.json", script.stem));
    let meta = env.sub("conda-meta")?;
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut meta.file(&name)?, &mut text).map_err(|error| Error::new(error.to_string()))?;
    let Ok(mut record) = serde_json::from_slice::<Value>(&text) else { return Ok(()) };
    let paths = record.pointer_mut("/paths_data/paths").and_then(Value::as_array_mut).into_iter().flatten();
    let of_script = paths.filter(|path| path["_path"] == *script.place).filter_map(Value::as_object_mut);
    for path in of_script {
        path.insert("sha256_in_prefix".into(), fs::sha256(&script.content).into());
    }
    meta.put_file(&name, 0o644, |file| file.write_all(format!("{record:#}").as_bytes()))
}

fn report(mamba: &Micromamba, scripts: &[Script]) {
    let (home, _) = mamba.home();
    // Scripts write there, too: nothing in it is trusted further than to be shown.
    let failed = fs::read_plain(&home.join(FAILED)).unwrap_or_default();
    for line in String::from_utf8_lossy(&failed).lines().take(scripts.len()) {
        let Some((name, code)) = line.split_once(' ') else { continue };
        let Some(script) = scripts.iter().find(|script| script.package == name) else { continue };
        output::warn(format_args!("the post-link script of '{name}' failed with exit status {}", visible(code)));
        let said = fs::read_plain(&home.join(format!("scripts/{}.out", script.stem))).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        for line in &lines[lines.len().saturating_sub(5)..] {
            output::line(format_args!("  {}", visible(&line.chars().take(200).collect::<String>())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// Sources a script through its starter, as micromamba does; gives the exit code, and what was noted.
    fn run(shell: &str, script: &str) -> (Option<i32>, String, std::time::Duration) {
        let dir = libsbox::testing::Scratch::new(&format!("scripts-{shell}-{}", fs::sha256(script.as_bytes())));
        let at = |name: &str| dir.join(name).display().to_string();
        std::fs::write(at("script"), script).unwrap();
        std::fs::write(at("start"), starter_of("x", &at("script"), &at("out"), &at("failed"))).unwrap();
        std::fs::write(at("wrapper"), format!(". {}\n", at("start"))).unwrap();
        let start = std::time::Instant::now();
        let output = Command::new(shell).arg(at("wrapper")).stdin(Stdio::null()).output().unwrap();
        let noted = std::fs::read_to_string(at("failed")).unwrap_or_default();
        (output.status.code(), noted, start.elapsed())
    }

    #[test]
    fn how_a_script_ends_is_noted() {
        for shell in ["sh", "bash"] {
            assert_eq!(run(shell, "echo fine\n").1, "");
            for script in ["exit 3\n", "(exit 3)\n", "set -e\n(exit 3)\necho not here\n"] {
                let (code, noted, _) = run(shell, script);
                assert_eq!((code, &*noted), (Some(3), "x 3\n"), "{shell}: {script}");
            }
        }
    }

    #[test]
    fn what_it_leaves_behind_holds_nobody() {
        for shell in ["sh", "bash"] {
            let (_, _, took) = run(shell, "sleep 20 &\n");
            assert!(took.as_secs() < 15, "{shell}: {took:?}");
        }
    }
}
