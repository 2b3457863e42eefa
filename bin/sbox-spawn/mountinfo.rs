//! The mounts of a process, from /proc/PID/mountinfo (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The places where something is mounted; with a `kind`, file systems of that kind only.
pub fn places<'a>(mountinfo: &'a str, kind: Option<&'a str>) -> impl Iterator<Item = PathBuf> + 'a {
    mountinfo.lines().filter_map(move |line| {
        let (mount, system) = line.split_once(" - ")?;
        let is_it = kind.is_none_or(|kind| system.split(' ').next() == Some(kind));
        let place = mount.split(' ').nth(4)?;
        is_it.then(|| unescaped(place))
    })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = if first == b'\\' { after.get(..3) } else { None };
        match digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_a_space_is_read() {
        let text = "27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 0:25 / /a\\040b rw shared:1 - overlay none rw\n";
        assert_eq!(places(text, None).collect::<Vec<_>>(), [PathBuf::from("/"), "/a b".into()]);
        assert_eq!(places(text, Some("overlay")).collect::<Vec<_>>(), [PathBuf::from("/a b")]);
    }
}
