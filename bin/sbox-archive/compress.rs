//! Compression on all processors: blocks are compressed side by side. For gzip each has the end of the one before as its
//! dictionary, and they make one ordinary member, as pigz(1) does; for zstd each is a frame (RFC 8878, section 3). What comes
//! out depends on the bytes and the level alone.

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// How it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// With a level from 1 to 9.
    Gzip(u32),
    Zstd,
}

impl Codec {
    /// Large enough that what is lost at the seams does not count.
    fn block(self) -> usize {
        match self {
            Codec::Gzip(_) => BLOCK,
            Codec::Zstd => 8 * BLOCK,
        }
    }
}

const BLOCK: usize = 512 * 1024;

/// How far deflate looks back.
const WINDOW: usize = 32 * 1024;

struct Job {
    number: u64,
    data: Vec<u8>,
    dictionary: Vec<u8>,
    last: bool,
}

struct Done {
    number: u64,
    compressed: io::Result<Vec<u8>>,
    crc: Crc,
}

/// Compresses what is written to it. [`Compressor::finish`] must be called.
pub struct Compressor<W: Write> {
    to: W,
    codec: Codec,
    block: Vec<u8>,
    dictionary: Vec<u8>,
    jobs: Option<Sender<Job>>,
    done: Receiver<Done>,
    workers: Vec<JoinHandle<()>>,
    begun: u64,
    written: u64,
    /// Compressed before their turn.
    early: BTreeMap<u64, Done>,
    crc: Crc,
}

impl<W: Write> Compressor<W> {
    pub fn new(mut to: W, codec: Codec) -> io::Result<Compressor<W>> {
        if let Codec::Gzip(_) = codec {
            // No time, no name, no system: the same bytes everywhere (RFC 1952, section 2.3).
            to.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])?;
        }
        let (jobs, queue) = mpsc::channel::<Job>();
        let (results, done) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let count = std::thread::available_parallelism().map_or(1, |count| count.get().min(16));
        let worker = |_| {
            let (queue, results) = (Arc::clone(&queue), results.clone());
            libsbox::thread::spawn(move || work(&queue, &results, codec))
        };
        let mut workers = Vec::new();
        for number in 0..count {
            match worker(number) {
                Ok(worker) => workers.push(worker),
                // One is enough.
                Err(_) if !workers.is_empty() => break,
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
        Ok(Compressor {
            to,
            codec,
            block: Vec::with_capacity(codec.block()),
            dictionary: Vec::new(),
            jobs: Some(jobs),
            done,
            workers,
            begun: 0,
            written: 0,
            early: BTreeMap::new(),
            crc: Crc::new(),
        })
    }

    fn begin(&mut self, last: bool) -> io::Result<()> {
        let data = std::mem::replace(&mut self.block, Vec::with_capacity(self.codec.block()));
        let dictionary = data[data.len().saturating_sub(WINDOW)..].to_vec();
        let dictionary = std::mem::replace(&mut self.dictionary, dictionary);
        let job = Job { number: self.begun, data, dictionary, last };
        self.begun += 1;
        self.jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or_else(gone)?;
        // Memory for some blocks of each worker, whatever the size of the archive.
        while self.begun - self.written > 3 * self.workers.len() as u64 {
            self.take()?;
        }
        Ok(())
    }

    /// Takes one result, and writes those whose turn it is.
    fn take(&mut self) -> io::Result<()> {
        let done = self.done.recv().map_err(|_| gone())?;
        self.early.insert(done.number, done);
        while let Some(done) = self.early.remove(&self.written) {
            self.to.write_all(&done.compressed?)?;
            self.crc.combine(&done.crc);
            self.written += 1;
        }
        Ok(())
    }

    /// Writes what is left, and the end. Gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.begin(true)?;
        while self.written < self.begun {
            self.take()?;
        }
        self.jobs = None;
        for worker in self.workers.drain(..) {
            worker.join().map_err(|_| gone())?;
        }
        if let Codec::Gzip(_) = self.codec {
            self.to.write_all(&self.crc.sum().to_le_bytes())?;
            self.to.write_all(&self.crc.amount().to_le_bytes())?;
        }
        self.to.flush()?;
        Ok(self.to)
    }
}

fn gone() -> io::Error {
    io::Error::other("a compressing thread ended")
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(self.codec.block() - self.block.len());
        self.block.extend_from_slice(&bytes[..length]);
        if self.block.len() == self.codec.block() {
            self.begin(false)?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn work(queue: &Mutex<Receiver<Job>>, results: &Sender<Done>, codec: Codec) {
    loop {
        let job = queue.lock().ok().and_then(|queue| queue.recv().ok());
        let Some(job) = job else { return };
        let mut crc = Crc::new();
        let compressed = match codec {
            Codec::Gzip(level) => {
                crc.update(&job.data);
                deflate(&job, level)
            }
            // An end without anything before it is a frame still: a file without one is not a zstd file.
            Codec::Zstd if job.data.is_empty() && job.number > 0 => Ok(Vec::new()),
            Codec::Zstd => Ok(compress_to_vec(job.data.as_slice(), CompressionLevel::Fastest)),
        };
        let done = Done { number: job.number, compressed, crc };
        if results.send(done).is_err() {
            return;
        }
    }
}

/// One block, ended at a byte so that another can follow, or for good.
fn deflate(job: &Job, level: u32) -> io::Result<Vec<u8>> {
    let mut state = Compress::new(Compression::new(level), false);
    if !job.dictionary.is_empty() {
        state.set_dictionary(&job.dictionary)?;
    }
    let flush = if job.last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut out = Vec::with_capacity(job.data.len() / 2 + 1024);
    loop {
        let rest = &job.data[state.total_in() as usize..];
        let status = state.compress_vec(rest, &mut out, flush)?;
        let whole = out.len() < out.capacity();
        if status == Status::StreamEnd || (!job.last && whole && state.total_in() as usize == job.data.len()) {
            return Ok(out);
        }
        out.reserve(out.capacity().max(64 * 1024));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn packed(bytes: &[u8], codec: Codec) -> Vec<u8> {
        let mut compressor = Compressor::new(Vec::new(), codec).unwrap();
        compressor.write_all(bytes).unwrap();
        compressor.finish().unwrap()
    }

    #[test]
    fn any_reader_gets_the_bytes_back() {
        let mut noise = libsbox::testing::Noise::default();
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 9 * BLOCK + 7] {
            for bytes in [vec![b'a'; length], (0..length).map(|_| noise.below(256) as u8).collect()] {
                let mut back = Vec::new();
                // One member: a reader that stops after the first has everything.
                flate2::read::GzDecoder::new(packed(&bytes, Codec::Gzip(6)).as_slice()).read_to_end(&mut back).unwrap();
                assert!(back == bytes, "{length}");
                back.clear();
                crate::decompress::Zstd::new(std::io::Cursor::new(packed(&bytes, Codec::Zstd)))
                    .read_to_end(&mut back)
                    .unwrap();
                assert!(back == bytes, "{length}");
            }
        }
    }

    #[test]
    fn the_same_bytes_give_the_same_bytes() {
        let bytes: Vec<u8> = (0..4 * BLOCK).map(|n| (n / 7 % 251) as u8).collect();
        for codec in [Codec::Gzip(6), Codec::Zstd] {
            assert!(packed(&bytes, codec) == packed(&bytes, codec));
        }
    }
}
