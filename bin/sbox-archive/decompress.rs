//! The bytes of an archive, whatever it is packed with. Its checksums are compared: a read at the end fails if what was read
//! is not what was written.

use flate2::bufread::MultiGzDecoder;
use libsbox::error::{Context, Result};
use libsbox::escape::visible_path;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

/// Bits of a gzip header that mean nothing yet: a reader has to refuse them (RFC 1952, section 2.3.1.2).
const RESERVED: u8 = 0xe0;

/// Opens an archive.
pub fn opened(path: &Path) -> Result<Box<dyn Read>> {
    let shown = || format!("read '{}'", visible_path(path));
    let mut file = BufReader::with_capacity(1 << 18, File::open(path).context(shown)?);
    match *file.fill_buf().context(shown)? {
        [0x1f, 0x8b, _, flags, ..] if flags & RESERVED != 0 => Err(libsbox::error::Error::new(format!(
            "'{}' is compressed in a way that gzip does not know",
            visible_path(path)
        ))),
        [0x1f, 0x8b, ..] => Ok(Box::new(MultiGzDecoder::new(file))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Box::new(Zstd::new(file))),
        _ => Ok(Box::new(file)),
    }
}

/// Reads one zstd frame after the other.
pub struct Zstd<R: BufRead> {
    source: Shared<R>,
    frame: Option<StreamingDecoder<Shared<R>, FrameDecoder>>,
}

/// What a frame's decoder reads from, and the next one's after it.
struct Shared<R>(Rc<RefCell<R>>);

impl<R: Read> Read for Shared<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl<R: BufRead> Zstd<R> {
    pub fn new(source: R) -> Zstd<R> {
        Zstd { source: Shared(Rc::new(RefCell::new(source))), frame: None }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                match frame.read(buffer)? {
                    0 if !buffer.is_empty() => {
                        let decoder = &frame.decoder;
                        let (written, read) = (decoder.get_checksum_from_data(), decoder.get_calculated_checksum());
                        if written.is_some() && written != read {
                            return Err(std::io::Error::other("its checksum does not match"));
                        }
                        self.frame = None;
                    }
                    length => return Ok(length),
                }
            }
            if self.source.0.borrow_mut().fill_buf()?.is_empty() {
                return Ok(0);
            }
            let next = Shared(Rc::clone(&self.source.0));
            // A frame may ask its reader for as much memory as it likes; nobody's archive needs more than this.
            let frame = StreamingDecoder::new_with_max_window_size(next, WINDOW);
            self.frame = Some(frame.map_err(|error| std::io::Error::other(error.to_string()))?);
        }
    }
}

/// That of `zstd --long`, and no more.
const WINDOW: u64 = 128 << 20;
