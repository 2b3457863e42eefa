//! Writing an archive: what goes into it is listed on stdin, and it is read once.

use crate::compress::Compressor;
use crate::items::{Item, Options};
use crate::writer::Writer;
use libsbox::cli;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use libsbox::output;
use libsbox::progress::amount::Report;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufWriter, Write};

pub fn create(options: &Options) -> Result<u8> {
    let mut items = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.context(|| "read stdin".into())?;
        let item =
            serde_json::from_str(&line).map_err(|error| Error::usage(format!("wrong line on stdin: {error}")))?;
        items.push(item);
    }
    let Some(output) = &options.output else {
        let summary = write(options, &items, std::io::stdout().lock())?;
        output::line(summary);
        return Ok(0);
    };
    // Whole or not at all.
    let temporary = fs::beside(output, "new");
    let shown = || format!("write '{}'", visible_path(output));
    let _ = std::fs::remove_file(&temporary);
    let file = File::options().write(true).create_new(true).open(&temporary).context(shown)?;
    let written = write(options, &items, &file).and_then(|summary| {
        file.sync_all().context(shown)?;
        std::fs::rename(&temporary, output).context(shown)?;
        Ok(summary)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    cli::out_line(written?)?;
    Ok(0)
}

fn write(options: &Options, items: &[Item], to: impl Write) -> Result<Value> {
    let shown = || String::from("write the archive");
    let to = Hashed::new(BufWriter::with_capacity(1 << 20, to), options.digests);
    let (mut summary, content, mut to) = if let Some(codec) = options.codec {
        let compressor = Compressor::new(to, codec).context(shown)?;
        let (summary, tar) = fill(options, items, compressor)?;
        let content = tar.digest();
        (summary, content, tar.to.finish().context(shown)?)
    } else {
        let (summary, tar) = fill(options, items, to)?;
        (summary, tar.digest(), tar.to)
    };
    to.flush().context(shown)?;
    summary["size"] = to.bytes.into();
    if options.digests {
        summary["sha256"] = to.digest().into();
        summary["tar_sha256"] = content.into();
    }
    Ok(summary)
}

/// Writes the tar; gives back what it went into.
fn fill<W: Write>(options: &Options, items: &[Item], to: W) -> Result<(Value, Hashed<W>)> {
    let to = Hashed { report: Report::to_caller("archive"), ..Hashed::new(to, options.digests) };
    Writer::new(options, to).all(items)
}

/// Counts what passes, and hashes it where that is wanted.
struct Hashed<W> {
    to: W,
    hash: Option<Sha256>,
    bytes: u64,
    /// How far it is, for who waits for it.
    report: Option<Report>,
}

impl<W> Hashed<W> {
    fn new(to: W, wanted: bool) -> Hashed<W> {
        Hashed { to, hash: wanted.then(Sha256::new), bytes: 0, report: None }
    }

    fn digest(&self) -> String {
        self.hash.as_ref().map(|hash| fs::hex(&hash.clone().finalize())).unwrap_or_default()
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.to.write(bytes)?;
        if let Some(hash) = &mut self.hash {
            hash.update(&bytes[..length]);
        }
        self.bytes += length as u64;
        if let Some(report) = &mut self.report {
            report.set(self.bytes);
        }
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}
