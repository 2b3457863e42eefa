//! Writing an archive: what stands in it is listed on stdin, and it is read once.

use crate::compress::{Codec, Compressor};
use libsbox::cli;
use libsbox::dir::{Dir, Entry};
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use libsbox::output;
use rustix::fs::FileType;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// What `create` was asked for.
#[derive(Debug)]
pub struct Options {
    /// Nothing: stdout.
    pub output: Option<PathBuf>,
    /// The one folder at the top; none if it is empty.
    pub name: String,
    /// How it is compressed; plain tar without it.
    pub codec: Option<Codec>,
    /// Where the checksums go in the archive.
    pub sums: Option<String>,
    /// Where the index of files goes that name `prefix`.
    pub sites: Option<String>,
    pub prefix: Option<String>,
    /// No time in the archive is later.
    pub latest: u64,
    /// Whose everything is: user and group.
    pub owner: (u64, u64),
    /// Whether the digests of the archive, and of the tar in it, are wanted.
    pub digests: bool,
}

/// A line on stdin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    dst: String,
    /// A file or a tree of the host's.
    src: Option<PathBuf>,
    /// Places in that tree that stay out. A directory is there, and empty.
    #[serde(default)]
    skip: Vec<PathBuf>,
    /// Places in that tree that are not in the archive at all.
    #[serde(default)]
    omit: Vec<PathBuf>,
    /// Or the content itself.
    text: Option<String>,
    /// Or where a symbolic link leads.
    link: Option<PathBuf>,
    /// Or the mode of an empty directory.
    directory: Option<u32>,
    /// Or an object, to which the counts and checksums of what came before are added.
    metadata: Option<serde_json::Map<String, Value>>,
}

struct Writer<'a, W: Write> {
    tar: Builder<W>,
    options: &'a Options,
    sums: String,
    sites: Vec<String>,
    files: u64,
    bytes: u64,
    left_out: Vec<String>,
}

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
    let mut writer = Writer::new(options, Hashed::new(to, options.digests));
    writer.all(items)?;
    let summary = writer.summary();
    let to = writer.tar.into_inner().context(|| "write the archive".into())?;
    Ok((summary, to))
}

/// Counts what passes, and hashes it where that is wanted.
struct Hashed<W> {
    to: W,
    hash: Option<Sha256>,
    bytes: u64,
}

impl<W> Hashed<W> {
    fn new(to: W, wanted: bool) -> Hashed<W> {
        Hashed { to, hash: wanted.then(Sha256::new), bytes: 0 }
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
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

impl<'a, W: Write> Writer<'a, W> {
    fn new(options: &'a Options, to: W) -> Writer<'a, W> {
        let tar = Builder::new(to);
        Writer { tar, options, sums: String::new(), sites: Vec::new(), files: 0, bytes: 0, left_out: Vec::new() }
    }

    fn summary(&self) -> Value {
        json!({"files": self.files, "bytes": self.bytes, "left_out": self.left_out})
    }

    fn all(&mut self, items: &[Item]) -> Result<()> {
        let mut made = std::collections::BTreeSet::new();
        if !self.options.name.is_empty() {
            self.directory(Path::new(""), 0o755, self.options.latest)?;
        }
        for item in items {
            let dst = plain(&item.dst)?;
            // Directories that lead there, each once.
            let above: Vec<&Path> = dst.ancestors().skip(1).filter(|place| !place.as_os_str().is_empty()).collect();
            for place in above.into_iter().rev() {
                if made.insert(place.to_owned()) {
                    self.directory(place, 0o755, self.options.latest)?;
                }
            }
            made.insert(dst.to_owned());
            self.item(item, dst)?;
        }
        Ok(())
    }

    fn item(&mut self, item: &Item, dst: &Path) -> Result<()> {
        match item {
            Item { src: Some(src), .. } => {
                let (Some(parent), Some(name)) = (src.parent(), src.file_name()) else {
                    return Err(Error::usage("a source has no name"));
                };
                let dir = Dir::open(parent)?;
                let Some(stat) = dir.stat(name)? else {
                    return Err(Error::new(format!("'{}' does not exist", visible_path(src))));
                };
                let entry = Entry { name: name.into(), kind: FileType::from_raw_mode(stat.st_mode) };
                self.entry(&dir, &entry, dst)?;
                if entry.kind == FileType::Directory {
                    let skipped = |place: &Path| {
                        let below = |skip: &PathBuf| place != skip && place.starts_with(skip);
                        item.skip.iter().any(below) || item.omit.iter().any(|omit| place == omit)
                    };
                    readable(&dir, name)?;
                    dir.sub(name)?
                        .walk_in(&skipped, &mut |dir, entry, place| self.entry(dir, entry, &dst.join(place)))?;
                }
                Ok(())
            }
            Item { text: Some(text), .. } => self.text(dst, text.as_bytes()),
            Item { link: Some(target), .. } => {
                let mut header = self.header(EntryType::Symlink, 0o777, self.options.latest);
                self.tar.append_link(&mut header, self.path(dst), target).context(|| "write the archive".into())
            }
            Item { directory: Some(mode), .. } => self.directory(dst, *mode & 0o7777, self.options.latest),
            Item { metadata: Some(metadata), .. } => self.metadata(dst, metadata),
            _ => Err(Error::usage("a line on stdin needs 'src', 'text', 'link', 'directory' or 'metadata'")),
        }
    }

    /// The index, the checksums, and then what tells of both.
    fn metadata(&mut self, dst: &Path, metadata: &serde_json::Map<String, Value>) -> Result<()> {
        let mut metadata = metadata.clone();
        metadata.insert("files".into(), self.files.into());
        metadata.insert("bytes".into(), self.bytes.into());
        if let (Some(place), Some(prefix)) = (&self.options.sites, &self.options.prefix) {
            let index = json!({"prefix": prefix, "files": self.files, "bytes": self.bytes, "sites": self.sites});
            self.text(plain(place)?, format!("{index}\n").as_bytes())?;
        }
        if let Some(place) = &self.options.sums {
            let sums = std::mem::take(&mut self.sums);
            metadata.insert("checksums".into(), json!({place: format!("sha256:{}", fs::sha256(sums.as_bytes()))}));
            self.text(plain(place)?, sums.as_bytes())?;
        }
        let text = serde_json::to_string_pretty(&metadata).map_err(|error| Error::new(error.to_string()))?;
        self.text(dst, format!("{text}\n").as_bytes())
    }

    fn header(&self, kind: EntryType, mode: u32, time: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(time.min(self.options.latest));
        header.set_uid(self.options.owner.0);
        header.set_gid(self.options.owner.1);
        header.set_size(0);
        header
    }

    fn path(&self, place: &Path) -> PathBuf {
        Path::new(&self.options.name).join(place)
    }

    fn directory(&mut self, place: &Path, mode: u32, time: u64) -> Result<()> {
        let mut header = self.header(EntryType::Directory, mode, time);
        let mut path = self.path(place).into_os_string();
        if !path.as_bytes().ends_with(b"/") {
            path.push("/");
        }
        self.tar.append_data(&mut header, path, std::io::empty()).context(|| "write the archive".into())
    }

    fn text(&mut self, place: &Path, content: &[u8]) -> Result<()> {
        let mut header = self.header(EntryType::Regular, 0o644, self.options.latest);
        header.set_size(content.len() as u64);
        self.tar.append_data(&mut header, self.path(place), content).context(|| "write the archive".into())?;
        self.sum(place, &Sha256::digest(content));
        Ok(())
    }

    fn sum(&mut self, place: &Path, hash: &[u8]) {
        // sha256sum(1): a name with a backslash or a newline is escaped, and its line begins with a backslash.
        let name = String::from_utf8_lossy(place.as_os_str().as_bytes()).into_owned();
        let escaped = name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        let mark = if escaped == name { "" } else { "\\" };
        self.sums += &format!("{mark}{}  {escaped}\n", fs::hex(hash));
    }

    fn entry(&mut self, dir: &Dir, entry: &Entry, place: &Path) -> Result<()> {
        let shown = || format!("read '{}'", visible_path(dir.path().join(&entry.name)));
        match entry.kind {
            FileType::Directory => {
                let stat = dir.stat(&entry.name)?;
                let (mode, time) = stat.map_or((0o755, 0), |stat| (stat.st_mode, stat.st_mtime as u64));
                readable(dir, &entry.name)?;
                self.directory(place, mode & 0o777 | 0o700, time)
            }
            FileType::RegularFile => {
                let file = open(dir, &entry.name)?;
                let metadata = file.metadata().context(shown)?;
                let mode = metadata.permissions().mode() & 0o777 | 0o400;
                let mut header = self.header(EntryType::Regular, mode, metadata.mtime().try_into().unwrap_or(0));
                header.set_size(metadata.len());
                // Byte code names it too, and is corrected by Python when it is loaded.
                let is_byte_code = place.extension().is_some_and(|extension| extension == "pyc");
                let prefix = self.options.prefix.as_deref().filter(|_| !is_byte_code).unwrap_or_default();
                let mut content = Content::new(file, metadata.len(), prefix.as_bytes());
                self.tar.append_data(&mut header, self.path(place), &mut content).context(shown)?;
                if content.left > 0 {
                    return Err(Error::new(format!("'{}' became shorter while it was read", visible_path(place)))
                        .hint("end what writes it, and pack again"));
                }
                self.files += 1;
                self.bytes += metadata.len();
                if content.has_prefix {
                    self.sites.push(place.to_string_lossy().into_owned());
                }
                let hash = content.hash.finalize();
                self.sum(place, &hash);
                Ok(())
            }
            FileType::Symlink => {
                let target = dir.link(&entry.name)?;
                let time = dir.stat(&entry.name)?.map_or(0, |stat| stat.st_mtime as u64);
                let mut header = self.header(EntryType::Symlink, 0o777, time);
                if let Some(prefix) = &self.options.prefix
                    && memchr::memmem::find(target.as_os_str().as_bytes(), prefix.as_bytes()).is_some()
                {
                    self.sites.push(place.to_string_lossy().into_owned());
                }
                self.tar.append_link(&mut header, self.path(place), target).context(shown)
            }
            _ => {
                // A socket or a pipe is somebody's who runs now.
                self.left_out.push(place.to_string_lossy().into_owned());
                Ok(())
            }
        }
    }
}

/// A file that an agent has made unreadable is opened all the same, and stays as it is.
fn open(dir: &Dir, name: &OsStr) -> Result<File> {
    match dir.file(name) {
        Err(_) => dir.lend(name, 0o400, || dir.file(name)),
        file => file,
    }
}

fn readable(dir: &Dir, name: &OsStr) -> Result<()> {
    match dir.sub(name) {
        Ok(_) => Ok(()),
        Err(_) => fs::reopen(&dir.path().join(name)),
    }
}

/// A place in the archive: relative, and without `..`.
fn plain(place: &str) -> Result<&Path> {
    let path = Path::new(place);
    let fits = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if fits && !place.is_empty() { Ok(path) } else { Err(Error::usage(format!("'{place}' is no place in an archive"))) }
}

/// A file on its way into the archive: hashed, and looked through for the prefix.
struct Content<'a> {
    file: File,
    left: u64,
    hash: Sha256,
    prefix: memchr::memmem::Finder<'a>,
    has_prefix: bool,
    /// The end of what was looked through: the prefix may begin in it.
    seam: Vec<u8>,
}

impl<'a> Content<'a> {
    fn new(file: File, size: u64, prefix: &'a [u8]) -> Content<'a> {
        let prefix = memchr::memmem::Finder::new(prefix);
        Content { file, left: size, hash: Sha256::new(), prefix, has_prefix: false, seam: Vec::new() }
    }

    fn look(&mut self, bytes: &[u8]) {
        let length = self.prefix.needle().len();
        if self.has_prefix || length == 0 {
            return;
        }
        self.seam.extend(&bytes[..bytes.len().min(length)]);
        self.has_prefix = self.prefix.find(&self.seam).is_some() || self.prefix.find(bytes).is_some();
        let from = if bytes.len() >= length { bytes } else { &self.seam };
        self.seam = from[from.len().saturating_sub(length - 1)..].to_vec();
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(self.left.try_into().unwrap_or(usize::MAX));
        let length = self.file.read(&mut buffer[..most])?;
        self.left -= length as u64;
        self.hash.update(&buffer[..length]);
        self.look(&buffer[..length]);
        Ok(length)
    }
}
