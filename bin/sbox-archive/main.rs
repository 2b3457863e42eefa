//! sbox-archive: write packed sandboxes, and read those of anybody.
#![forbid(unsafe_code)]

mod blocks;
mod compress;
mod content;
mod create;
mod decompress;
mod extract;
mod header;
mod items;
mod links;
mod read;
mod sparse;
mod verify;
mod writer;

use compress::Codec;
use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::{Error, Result};
use libsbox::escape::{visible, visible_path};
use read::{Kind, Limits};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-archive", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-archive create [-o FILE] --name NAME [options] <ITEMS
       sbox-archive list [-j] ARCHIVE
       sbox-archive verify ARCHIVE|DIR
       sbox-archive extract [-C DIR] ARCHIVE
create writes the ITEMS, one JSON object a line: {\"dst\", \"src\"}, or text, link,
directory or metadata in place of src. verify compares files with the checksums
in .sbox/SHA256SUMS. extract makes the archive's folder in DIR, and nothing
else.

  -o, --output FILE     where to write [stdout]
      --name NAME       name of the top folder
      --flat            make no top folder
      --owner UID:GID   owner of everything in the archive [0:0]
      --digests         also print the SHA-256 of the archive and of its tar
      --format FORMAT   tar.gz, tar.zst or tar [tar.gz]
      --level N         level of gzip, from 1 to 9 [5]
      --sums PLACE      write checksums to PLACE, before the metadata
      --prefix PATH     look for PATH in all files
      --sites PLACE     write the list of files that contain it to PLACE, before
                        the metadata
      --time SECONDS    use no time later than this in the archive
      --made-time SECONDS
                        the time of directories and of what has no source
      --group-like-owner
                        let the group do what the owner may do
  -C, --directory DIR   where to extract [.]
      --max-size SIZE   refuse an archive with more in it [64G]
      --max-entries N   refuse an archive with more entries [4000000]
  -j, --json            print JSON Lines
  -h, --help            print this text
  -V, --version         print the version
";

/// Of gzip, where nothing else is said: half of the time of 9, and no larger than gzip(1)'s own.
const LEVEL: u32 = 5;

fn main() -> ExitCode {
    TOOL.main(run)
}

struct Options {
    create: items::Options,
    directory: PathBuf,
    limits: Limits,
    json: bool,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let create = items::Options {
        output: None,
        name: String::new(),
        codec: Some(Codec::Gzip(LEVEL)),
        sums: None,
        sites: None,
        prefix: None,
        latest: u64::MAX >> 31,
        made_time: None,
        group_like_owner: false,
        owner: (0, 0),
        digests: false,
    };
    let limits = Limits { bytes: 64 << 30, entries: 4_000_000 };
    let (mut flat, mut gzip_level) = (false, LEVEL);
    let mut options = Options { create, directory: ".".into(), limits, json: false };
    let mut words: Vec<std::ffi::OsString> = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Short('o') | Long("output") => options.create.output = Some(args.value()?.into()),
            Long("name") => options.create.name = args.value()?.string()?,
            Long("flat") => flat = true,
            Long("digests") => options.create.digests = true,
            Long("owner") => options.create.owner = owner(&args.value()?.string()?)?,
            Long("format") => options.create.codec = codec(&args.value()?.string()?)?,
            Long("level") => gzip_level = level(args.value()?.parse()?)?,
            Long("sums") => options.create.sums = Some(args.value()?.string()?),
            Long("prefix") => options.create.prefix = Some(args.value()?.string()?),
            Long("sites") => options.create.sites = Some(args.value()?.string()?),
            Long("time") => options.create.latest = args.value()?.parse()?,
            Long("made-time") => options.create.made_time = Some(args.value()?.parse()?),
            Long("group-like-owner") => options.create.group_like_owner = true,
            Short('C') | Long("directory") => options.directory = args.value()?.into(),
            Long("max-size") => {
                let text = args.value()?.string()?;
                options.limits.bytes = libsbox::model::bytes(&text)
                    .ok_or_else(|| Error::usage(format!("'{}' is not a size", visible(&text))).hint("like 10G"))?;
            }
            Long("max-entries") => options.limits.entries = args.value()?.parse()?,
            Short('j') | Long("json") => options.json = true,
            Value(word) => words.push(word),
            other => return Err(cli::common(other)),
        }
    }
    if let Some(Codec::Gzip(level)) = &mut options.create.codec {
        *level = gzip_level;
    }
    let verb = words.first().and_then(|verb| verb.to_str()).unwrap_or_default();
    match (verb, &words[1.min(words.len())..]) {
        ("create", []) if is_name(&options.create.name) != flat => create::create(&options.create),
        ("create", []) => Err(Error::usage("'--name' must be given, and be the name of a folder; or '--flat'")),
        ("list", [archive]) => list(archive.as_ref(), &options),
        ("verify", [what]) => verify::verify(what.as_ref(), options.limits),
        ("extract", [archive]) => extract::extract(archive.as_ref(), &options.directory, options.limits),
        ("list" | "verify" | "extract", _) => Err(Error::usage("one archive is needed")),
        _ => Err(Error::usage("create, list, verify or extract")),
    }
}

fn codec(format: &str) -> Result<Option<Codec>> {
    match format {
        "tar.gz" => Ok(Some(Codec::Gzip(LEVEL))),
        "tar.zst" => Ok(Some(Codec::Zstd)),
        "tar" => Ok(None),
        _ => Err(Error::usage(format!("unknown format '{}'", visible(format))).hint("tar.gz, tar.zst or tar")),
    }
}

fn owner(text: &str) -> Result<(u64, u64)> {
    let ids = text.split_once(':').and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
    ids.ok_or_else(|| Error::usage(format!("'{}' is not an owner", visible(text))).hint("like 1000:1000"))
}

fn level(level: u32) -> Result<u32> {
    if (1..=9).contains(&level) { Ok(level) } else { Err(Error::usage("a level is from 1 to 9")) }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains('/')
}

fn list(archive: &std::path::Path, options: &Options) -> Result<u8> {
    read::each(archive, options.limits, &mut |item, _| {
        let (kind, target) = match &item.kind {
            Kind::Directory => ("directory", None),
            Kind::File => ("file", None),
            Kind::Link(target) => ("link", Some(target)),
        };
        if options.json {
            let target = target.map(|target| target.to_string_lossy());
            return cli::out_line(json!({
                "path": item.path.to_string_lossy(), "kind": kind, "mode": format!("{:o}", item.mode),
                "time": item.time, "size": item.size, "target": target,
            }));
        }
        let arrow = target.map(|target| format!(" -> {}", visible_path(target))).unwrap_or_default();
        let slash = if item.kind == Kind::Directory { "/" } else { "" };
        cli::out_line(format_args!("{:o} {:>12} {}{slash}{arrow}", item.mode, item.size, visible_path(&item.path)))
    })?;
    Ok(0)
}
