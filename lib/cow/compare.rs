//! Whether two entries are the same now.

use super::node::{Node, What};
use crate::dir::Dir;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;

/// Whether the entry `name` of a layer is what the host has there: sort, content and mode. What cannot be read is not.
pub fn same(layer: (&Dir, &Node), host: (&Dir, &Node), name: &OsStr) -> bool {
    same_as((layer.0, layer.1, name), (host.0, host.1, name))
}

/// The same for an entry that has another name on the host.
pub fn same_as(layer: (&Dir, &Node, &OsStr), host: (&Dir, &Node, &OsStr)) -> bool {
    let ((upper, new, name), (lower, old, its_name)) = (layer, host);
    if new.what != old.what {
        return false;
    }
    match new.what {
        What::Directory => new.mode_on_the_host(Some(old.mode)) == old.mode & 0o777,
        What::Link => upper.link(name).is_ok_and(|new| lower.link(its_name).is_ok_and(|old| new == old)),
        What::File => {
            new.size == old.size
                && new.mode_on_the_host(Some(old.mode)) == old.mode & 0o777
                && upper.file_lent(name).is_ok_and(|new| lower.file(its_name).is_ok_and(|old| equal(new, old)))
        }
        What::Special => false,
    }
}

/// Whether two files have the same bytes.
fn equal(mut left: File, mut right: File) -> bool {
    let (mut a, mut b) = ([0; 16 << 10], [0; 16 << 10]);
    loop {
        let (Ok(first), Ok(second)) = (fill(&mut left, &mut a), fill(&mut right, &mut b)) else { return false };
        if a[..first] != b[..second] {
            return false;
        }
        if first == 0 {
            return true;
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}
