//! Python's byte code: which of it is stale.
//!
//! A `.pyc` names the time and size of the source it was made from (PEP 552, flags 0). Relocation keeps times and changes
//! sizes, and `compileall` compares times only, so that stale byte code would stay for ever and cost at every start.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A source and its byte code that was made from something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// The `.py`.
    pub source: PathBuf,
    /// The `.pyc`.
    pub byte_code: PathBuf,
}

/// The source of a byte code file in `__pycache__`; nothing for any other file.
pub fn source_of(byte_code: &Path) -> Option<PathBuf> {
    let stem = byte_code.file_name()?.to_str()?.strip_suffix(".pyc")?.split('.').next()?;
    let cache = byte_code.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "__pycache__"))?;
    Some(cache.with_file_name(format!("{stem}.py")))
}

/// What is stale in `directory` itself. Byte code without its source, or with a hash in place of a time, is left alone.
pub fn stale_in(directory: &Path) -> Vec<Stale> {
    let entries = std::fs::read_dir(directory.join("__pycache__")).into_iter().flatten().flatten();
    entries.filter_map(|entry| check(directory, &entry.path())).collect()
}

fn check(directory: &Path, byte_code: &Path) -> Option<Stale> {
    let name = byte_code.file_name()?.to_str()?.strip_suffix(".pyc")?;
    let source = directory.join(format!("{}.py", name.split('.').next()?));
    let metadata = std::fs::metadata(&source).ok()?;
    let mut head = [0; 16];
    std::fs::File::open(byte_code).ok()?.read_exact(&mut head).ok()?;
    let fresh = is_fresh(&head, metadata.mtime(), metadata.len());
    (!fresh).then(|| Stale { source, byte_code: byte_code.into() })
}

/// Whether byte code that begins with `head` fits a source of this time and size. One with a hash in place of a time does.
pub fn is_fresh(head: &[u8; 16], time: i64, size: u64) -> bool {
    let field = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    // Both are kept modulo 2^32.
    field(4) != 0 || field(8) == time as u32 && field(12) == size as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_code_tells_its_source() {
        let source = |path: &str| source_of(Path::new(path)).map(|path| path.display().to_string());
        assert_eq!(source("a/__pycache__/m.cpython-311.opt-1.pyc").as_deref(), Some("a/m.py"));
        assert_eq!((source("a/m.pyc"), source("a/__pycache__/m.py")), (None, None));
    }

    #[test]
    fn a_size_that_changed_is_seen_though_the_time_is_the_same() {
        let directory = crate::testing::Scratch::new("bytecode");
        std::fs::create_dir_all(directory.join("__pycache__")).unwrap();
        let source = directory.join("m.py");
        std::fs::write(&source, "x = 1\n").unwrap();
        let time = std::fs::metadata(&source).unwrap().mtime() as u32;
        let write = |size: u32| {
            let head = [[0u8; 4], [0; 4], time.to_le_bytes(), size.to_le_bytes()].concat();
            std::fs::write(directory.join("__pycache__/m.cpython-311.pyc"), head).unwrap();
        };
        write(6);
        assert!(stale_in(&directory).is_empty());
        write(7);
        assert_eq!(stale_in(&directory)[0].source, source);
    }
}
