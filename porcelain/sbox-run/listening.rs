//! Whether a daemon listens on a port: this one, and not another process of the host that has the same port.

use libsbox::daemon::Started;
use libsbox::process::Table;
use std::collections::HashSet;
use std::path::Path;

/// In a network of the sandbox's own every socket is its own; in the host's a process of the sandbox must have it.
pub fn listens(started: &Started, port: u16, own_network: bool) -> bool {
    let read =
        |name: &str| std::fs::read_to_string(format!("/proc/{}/net/{name}", started.command)).unwrap_or_default();
    let sockets: HashSet<u64> = ["tcp", "tcp6"].into_iter().flat_map(|name| listening(&read(name), port)).collect();
    if own_network || sockets.is_empty() {
        return !sockets.is_empty();
    }
    let table = Table::read();
    let mut waiting = vec![started.pid];
    while let Some(pid) = waiting.pop() {
        if has_one(pid, &sockets) {
            return true;
        }
        waiting.extend(table.children(pid));
    }
    false
}

/// The inodes of the sockets that listen on a port. Of a line of proc_pid_net(5), tcp and tcp6, the second field is the local
/// address and port in hexadecimal, the fourth the state (0A: LISTEN), the tenth the inode.
fn listening(text: &str, port: u16) -> Vec<u64> {
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let own = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
        (own == port && *fields.get(3)? == "0A").then(|| fields.get(9)?.parse().ok()).flatten()
    };
    text.lines().skip(1).filter_map(socket).collect()
}

/// Whether a process has one of these sockets open.
fn has_one(pid: i32, sockets: &HashSet<u64>) -> bool {
    let inode = |path: &Path| {
        let link = std::fs::read_link(path).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
    };
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| inode(&entry.path())).any(|socket| sockets.contains(&socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_that_listen_on_the_port_count() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1FBB 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0\n\
             1: 0100007F:1FBB 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0\n\
             2: 0100007F:1FBC 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4713 1 0\n";
        assert_eq!(listening(text, 8123), [4711]);
        assert_eq!(listening(text, 1), [] as [u64; 0]);
    }
}
