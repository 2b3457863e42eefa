//! What was downloaded, made into a program: a `.tar.bz2` with `bin/micromamba` in it, or the program itself.

use bzip2::read::MultiBzDecoder;
use libsbox::error::{Context, Error, Result, reason};
use libsbox::escape::visible;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Limits on what is unpacked: an archive of a few bytes can have any size inside.
const LARGEST: u64 = 512 << 20;

/// What a file is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// bzip2, with a tar file in it.
    Archive,
    /// ELF, Mach-O, or a script.
    Program,
}

impl Form {
    pub fn of(start: &[u8]) -> Option<Form> {
        const PROGRAMS: [&[u8]; 4] = [b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"#!/"];
        match start {
            start if start.starts_with(b"BZh") => Some(Form::Archive),
            start if PROGRAMS.iter().any(|magic| start.starts_with(magic)) => Some(Form::Program),
            _ => None,
        }
    }
}

/// Writes the program that is in `from` to `to`.
pub fn program(from: &Path, to: &Path, url: &str) -> Result<()> {
    let mut start = [0; 4];
    let mut file = File::open(from).context(|| "read what was downloaded".into())?;
    let _ = file.read(&mut start).context(|| "read what was downloaded".into())?;
    std::io::Seek::rewind(&mut file).context(|| "read what was downloaded".into())?;
    match Form::of(&start) {
        Some(Form::Program) => write(&mut file, to),
        _ => unpack(file, to, url),
    }
}

/// Takes the one file out of the archive. Everything else in it is passed over: nothing else is ever written.
fn unpack(file: File, to: &Path, url: &str) -> Result<()> {
    let broken = |error: &std::io::Error| {
        Error::new(format!("the archive from '{}' is damaged: {}", visible(url), visible(&reason(error))))
    };
    let limited = MultiBzDecoder::new(BufReader::new(file)).take(LARGEST);
    let mut archive = tar::Archive::new(limited);
    let mut found = false;
    for entry in archive.entries().map_err(|error| broken(&error))? {
        let mut entry = entry.map_err(|error| broken(&error))?;
        if entry.path_bytes().as_ref() != b"bin/micromamba" {
            continue;
        }
        if found || !entry.header().entry_type().is_file() {
            return Err(Error::new(format!(
                "bin/micromamba in the archive from '{}' is not one regular file",
                visible(url)
            )));
        }
        let mut start = [0; 4];
        entry.read_exact(&mut start).map_err(|error| broken(&error))?;
        if Form::of(&start) != Some(Form::Program) {
            return Err(Error::new(format!("bin/micromamba in the archive from '{}' is not a program", visible(url))));
        }
        let size = entry.size();
        write(&mut start.as_slice().chain(&mut entry), to)?;
        let written = std::fs::metadata(to).context(|| "look at the new micromamba".into())?.len();
        if written != size {
            return Err(Error::new(format!("the archive from '{}' breaks off", visible(url))));
        }
        found = true;
    }
    match found {
        true => Ok(()),
        false => Err(Error::new(format!("there is no bin/micromamba in the archive from '{}'", visible(url)))),
    }
}

fn write(content: &mut dyn Read, to: &Path) -> Result<()> {
    let shown = || "write the new micromamba".into();
    let _ = std::fs::remove_file(to);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(to).context(shown)?;
    std::io::copy(content, &mut file).context(shown)?;
    file.flush().and_then(|()| file.sync_all()).context(shown)
}
