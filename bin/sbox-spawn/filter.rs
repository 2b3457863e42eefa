//! The seccomp filter: which system calls the command may make.
//!
//! It runs in the kernel before every call. A call of another architecture (32-bit, x32) and one newer than the list are
//! answered with `ENOSYS`. What is looked at in the arguments comes first; for every other call the kernel remembers the
//! answer by number (Linux 5.11 and later) and does not run the filter again.

use crate::args::{Args, Level};
use crate::bpf::{ANY, ARCH, EQUAL, Filter, GREATER, LOAD, NUMBER, RETURN, Test, errno, jump, statement};
use crate::denied::{Answer, BY_NUMBER, Denied, EVERYWHERE, HERE, NEWEST};
use crate::unavailable;
use libc::c_long;
use libsbox::sys::Instruction;

/// `AUDIT_ARCH_*` of this program (linux/audit.h): the ELF machine, 64-bit, little-endian.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: u32 = 0xC000_00F3;

/// Numbers with this bit are x32 calls, which have the architecture of x86-64 (arch/x86/include/uapi/asm/unistd.h).
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// Every flag of unshare(2) and clone(2) that makes a namespace. `CLONE_NEWTIME` is a signal number to clone(2).
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;
const NEW_TIME: u32 = 0x80;

/// Set-uid and set-gid.
const SET_ID: u32 = SET_UID | SET_GID;
const SET_UID: u32 = libc::S_ISUID;
const SET_GID: u32 = libc::S_ISGID;

/// ioctl(2) requests on a terminal. Compared in their low 32 bits, as the kernel does (CVE-2023-28339 and its kind: a
/// filter that compares 64 bits is passed with a high bit set).
const TERMINAL_REQUESTS: [(u32, &str); 3] = [
    (libc::TIOCSTI as u32, "puts input into the terminal, which the user's shell then reads"),
    (0x541C, "TIOCLINUX: the same on a console, by its selection"),
    (0x5423, "TIOCSETD: line disciplines are old drivers that any process can load"),
];

/// System V IPC, and POSIX queues. Not the calls that make one alone: an id that is guessed needs none of them.
const SYSTEM_V: [c_long; 12] = [
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_mq_open,
];

/// What socket(2) may make. Others are drivers of rare protocols, loaded on demand, or reach past a network namespace
/// (`AF_VSOCK`).
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Protocols of `AF_INET` and `AF_INET6`: default, ICMP, TCP, UDP, ICMPv6, MPTCP. Not SCTP, DCCP and the like, for the
/// same reason.
const PROTOCOLS: [i32; 6] =
    [0, libc::IPPROTO_ICMP, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_ICMPV6, libc::IPPROTO_MPTCP];

/// personality(2): the default, and the question which one it is.
const PERSONALITIES: [u32; 2] = [0, 0xFFFF_FFFF];

/// What differs from one sandbox to another.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// The agent may make its own namespaces and mounts, for a sandbox that it brings along.
    nested: bool,
    /// The families of sockets.
    families: &'static [i32],
    /// The processors were chosen, and no others may be.
    pinned: bool,
    /// Memory is counted: a file in memory that nobody has mapped is in no account but the kernel's.
    counted: bool,
    /// It has the host's System V memory, queues and semaphores: everything of the same user's is an id away.
    has_hosts_ipc: bool,
    /// Files are kept by a Landlock that does not look at truncation.
    is_truncation_unseen: bool,
}

impl Scope {
    pub fn of(args: &Args, level: Level) -> Scope {
        let families = match level {
            Level::Namespace => FAMILIES.as_slice(),
            // Without a mount namespace a socket in the file system (an SSH agent's, a container engine's) is one connect(2)
            // away, which Landlock does not look at before Linux 7.1. Without a network namespace `none` is this.
            _ if args.network.is_own() => &[],
            _ => &FAMILIES[1..],
        };
        Scope {
            nested: args.nested && level == Level::Namespace,
            families,
            pinned: args.limits.cpus.is_some(),
            counted: args.limits.memory.is_some(),
            has_hosts_ipc: level != Level::Namespace,
            is_truncation_unseen: level == Level::Landlock && unavailable::landlock_version() < 3,
        }
    }

    /// Whether what is refused is reported. Not where the agent may bring a sandbox of its own: that one may want to hear
    /// about its calls, and the kernel has one listener for all filters of a process.
    pub fn is_reported(&self) -> bool {
        !self.nested
    }
}

/// The filter.
pub fn program(scope: &Scope) -> Vec<Instruction> {
    let nested = scope.nested;
    let mut filter = Filter(Vec::new());
    filter.foreign_calls();
    filter.set_id_bits();
    filter.sockets(scope.families);
    for (request, _) in TERMINAL_REQUESTS {
        filter.when(libc::SYS_ioctl, &[Test::Equal(1, request)], errno(libc::EPERM));
    }
    if !nested {
        filter.when(libc::SYS_clone, &[Test::Any(0, NAMESPACES)], errno(libc::EPERM));
        filter.when(libc::SYS_unshare, &[Test::Any(0, NAMESPACES | NEW_TIME)], errno(libc::EPERM));
    }
    let differs = PERSONALITIES.map(|persona| Test::Differs(0, persona));
    filter.when(libc::SYS_personality, &differs, errno(libc::EPERM));
    if scope.pinned {
        filter.when(libc::SYS_sched_setaffinity, &[], errno(libc::EPERM));
    }
    if scope.counted {
        filter.when(libc::SYS_memfd_create, &[], errno(libc::ENOSYS));
        filter.when(libc::SYS_memfd_secret, &[], errno(libc::ENOSYS));
    }
    if scope.has_hosts_ipc {
        for number in SYSTEM_V {
            filter.when(number, &[], errno(libc::EPERM));
        }
    }
    if scope.is_truncation_unseen {
        filter.truncation();
    }
    for denied in EVERYWHERE.iter().chain(&BY_NUMBER).chain(HERE).filter(|denied| denied.always || !nested) {
        filter.deny(denied);
    }
    filter.0.push(statement(RETURN, libc::SECCOMP_RET_ALLOW));
    filter.0
}

impl Filter {
    fn foreign_calls(&mut self) {
        let missing = errno(libc::ENOSYS);
        self.0.push(statement(LOAD, ARCH));
        self.0.push(jump(EQUAL, ARCHITECTURE, 1, 0));
        self.0.push(statement(RETURN, missing));
        self.0.push(statement(LOAD, NUMBER));
        #[cfg(target_arch = "x86_64")]
        {
            self.0.push(jump(ANY, X32, 0, 1));
            self.0.push(statement(RETURN, missing));
        }
        self.0.push(jump(GREATER, NEWEST, 0, 1));
        self.0.push(statement(RETURN, missing));
    }

    /// A set-uid program that an agent leaves in a mount is the user's to anybody who starts it on the host.
    fn set_id_bits(&mut self) {
        const FCHMODAT2: c_long = 452;
        let refuse = errno(libc::EPERM);
        // A mode counts only where a file is made.
        let makes = Test::Any(2, (libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u32);
        self.when(libc::SYS_openat, &[makes, Test::Any(3, SET_ID)], refuse);
        for (number, argument) in
            [(libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2), (FCHMODAT2, 2), (libc::SYS_mknodat, 2)]
        {
            self.when(number, &[Test::Any(argument, SET_UID)], refuse);
            self.when(number, &[Test::Any(argument, SET_GID)], set_gid(number));
        }
        #[cfg(target_arch = "x86_64")]
        {
            let makes = Test::Any(1, (libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u32);
            self.when(libc::SYS_open, &[makes, Test::Any(2, SET_ID)], refuse);
            for number in [libc::SYS_chmod, libc::SYS_creat, libc::SYS_mknod] {
                self.when(number, &[Test::Any(1, SET_UID)], refuse);
                self.when(number, &[Test::Any(1, SET_GID)], set_gid(number));
            }
        }
    }

    /// Before Landlock 3 a file that may not be written can be emptied: by its name, or by opening it for anything but writing.
    /// What was opened for writing can still be.
    fn truncation(&mut self) {
        const MODES: [u32; 2] = [libc::O_WRONLY as u32, libc::O_RDWR as u32];
        let refuse = errno(libc::EACCES);
        self.when(libc::SYS_truncate, &[], refuse);
        // Its flags are in memory, where no filter looks.
        self.when(libc::SYS_openat2, &[], errno(libc::ENOSYS));
        #[cfg(target_arch = "x86_64")]
        let calls = [(libc::SYS_openat, 2), (libc::SYS_open, 1)];
        #[cfg(not(target_arch = "x86_64"))]
        let calls = [(libc::SYS_openat, 2)];
        for (number, flags) in calls {
            let empties = Test::Any(flags, libc::O_TRUNC as u32);
            // Reading, and the mode 3 of open(2), which is both and is neither to Landlock.
            self.when(number, &[empties, Test::None(flags, MODES[0] | MODES[1])], refuse);
            self.when(number, &[empties, Test::Any(flags, MODES[0]), Test::Any(flags, MODES[1])], refuse);
        }
    }

    fn sockets(&mut self, families: &[i32]) {
        let strange: Vec<Test> = families.iter().map(|family| Test::Differs(0, *family as u32)).collect();
        self.when(libc::SYS_socket, &strange, errno(libc::EAFNOSUPPORT));
        self.when(libc::SYS_socketpair, &[Test::Differs(0, libc::AF_UNIX as u32)], errno(libc::EAFNOSUPPORT));
        // Of netlink only NETLINK_ROUTE (0): programs ask it for their addresses.
        let netlink = [Test::Equal(0, libc::AF_NETLINK as u32), Test::Differs(2, 0)];
        self.when(libc::SYS_socket, &netlink, errno(libc::EPROTONOSUPPORT));
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut tests = vec![Test::Equal(0, family as u32)];
            tests.extend(PROTOCOLS.map(|protocol| Test::Differs(2, protocol as u32)));
            self.when(libc::SYS_socket, &tests, errno(libc::EPROTONOSUPPORT));
        }
    }

    fn deny(&mut self, denied: &Denied) {
        let answer = match denied.answer {
            Answer::Forbidden => errno(libc::EPERM),
            Answer::Missing => errno(libc::ENOSYS),
        };
        self.0.push(jump(EQUAL, denied.number as u32, 0, 1));
        self.0.push(statement(RETURN, answer));
    }
}

/// What a mode with the set-gid bit is answered. `tar`, `cp -a`, `git init --shared` and everything that works in a directory
/// of a group put it on directories, where it is harmless, and end with an error if they may not: a change of mode is passed
/// over, and the file keeps the mode it has. Not where the call makes something: 0 would be a descriptor.
fn set_gid(number: c_long) -> u32 {
    #[cfg(target_arch = "x86_64")]
    let makes = [libc::SYS_mknodat, libc::SYS_mknod, libc::SYS_creat].contains(&number);
    #[cfg(not(target_arch = "x86_64"))]
    let makes = number == libc::SYS_mknodat;
    errno(if makes { libc::EPERM } else { 0 })
}

/// The name of a call that may set a set-id bit.
pub fn name_of_set_id_call(number: c_long) -> Option<&'static str> {
    const FCHMODAT2: c_long = 452;
    let name = match number {
        libc::SYS_openat => "openat",
        libc::SYS_fchmod => "fchmod",
        libc::SYS_fchmodat | FCHMODAT2 => "fchmodat",
        libc::SYS_mknodat => "mknodat",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => "open",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_chmod => "chmod",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_creat => "creat",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mknod => "mknod",
        _ => return None,
    };
    Some(name)
}

/// Whether a call is about System V objects or POSIX queues.
pub fn is_system_v(number: c_long) -> bool {
    SYSTEM_V.contains(&number)
}

/// The same filter, but that what it forbids is reported to a listener, who answers with the same error. Not what it says
/// does not exist (`ENOSYS`), which every C library asks for at each start, and not what it passes over.
pub fn reporting(filter: &[Instruction]) -> Vec<Instruction> {
    let reported = |instruction: &Instruction| {
        let errors = [libc::EPERM, libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT].map(errno);
        let is_reported = u32::from(instruction.code) == RETURN && errors.contains(&instruction.k);
        if is_reported { statement(RETURN, libc::SECCOMP_RET_USER_NOTIF) } else { *instruction }
    };
    // A second listener, which the kernel refuses only while the first is open: once ours were gone, one of the agent's own
    // filters could answer for it, and let go on what is forbidden here.
    let mut program = Filter(vec![statement(LOAD, NUMBER)]);
    let loads =
        [Test::Equal(0, libc::SECCOMP_SET_MODE_FILTER), Test::Any(1, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32)];
    program.when(libc::SYS_seccomp, &loads, errno(libc::EBUSY));
    program.0.extend(filter.iter().map(reported));
    program.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::answer;

    fn answered(filter: &[Instruction], arch: u32, number: c_long, arguments: [u64; 6]) -> u32 {
        answer(filter, arch, number, arguments).expect("every way through the filter ends")
    }

    fn scope(nested: bool) -> Scope {
        Scope {
            nested,
            families: &FAMILIES,
            pinned: false,
            counted: false,
            has_hosts_ipc: false,
            is_truncation_unseen: false,
        }
    }

    #[test]
    fn where_refused_calls_are_reported_no_other_listener_can_come() {
        let filter = reporting(&program(&scope(false)));
        let seccomp = |mode, flags| answered(&filter, ARCHITECTURE, libc::SYS_seccomp, [mode, flags, 0, 0, 0, 0]);
        // SECCOMP_FILTER_FLAG_NEW_LISTENER is 8, beside it stands TSYNC: an answer that a notification never replaces.
        for flags in [8, 9, 8 | 16 | 1] {
            assert_eq!(seccomp(1, flags), errno(libc::EBUSY));
        }
        for (mode, flags) in [(1, 0), (1, 1), (2, 0), (3, 0)] {
            assert_eq!(seccomp(mode, flags), libc::SECCOMP_RET_ALLOW);
        }
        let unshare = [0x1000_0000, 0, 0, 0, 0, 0];
        assert_eq!(answered(&filter, ARCHITECTURE, libc::SYS_unshare, unshare), libc::SECCOMP_RET_USER_NOTIF);
    }

    fn asked(nested: bool, number: c_long, arguments: &[u64]) -> u32 {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        answered(&program(&scope(nested)), ARCHITECTURE, number, all)
    }

    const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
    const REFUSED: u32 = errno(libc::EPERM);
    const MISSING: u32 = errno(libc::ENOSYS);

    #[test]
    fn calls_of_other_architectures_do_not_exist() {
        let filter = program(&scope(false));
        for arch in [0x4000_0003, 0x4000_0028, 0] {
            // AUDIT_ARCH_I386, AUDIT_ARCH_ARM
            assert_eq!(answered(&filter, arch, libc::SYS_getpid, [0; 6]), MISSING);
        }
        #[cfg(target_arch = "x86_64")]
        assert_eq!(asked(false, libc::SYS_getpid | i64::from(X32), &[]), MISSING);
        assert_eq!(asked(false, i64::from(NEWEST) + 1, &[]), MISSING);
    }

    #[test]
    fn every_call_of_the_list_is_denied() {
        for denied in EVERYWHERE.iter().chain(&BY_NUMBER).chain(HERE) {
            let wanted = if denied.answer == Answer::Missing { MISSING } else { REFUSED };
            assert_eq!(asked(false, denied.number, &[]), wanted, "{}: {}", denied.number, denied.why);
            assert_eq!(asked(true, denied.number, &[]), if denied.always { wanted } else { ALLOWED });
        }
    }

    #[test]
    fn ordinary_calls_are_allowed() {
        for number in [
            libc::SYS_read,
            libc::SYS_mmap,
            libc::SYS_execve,
            libc::SYS_futex,
            libc::SYS_ptrace,
            libc::SYS_seccomp,
            libc::SYS_epoll_pwait2,
            libc::SYS_rseq,
            libc::SYS_statx,
            libc::SYS_copy_file_range,
            libc::SYS_pidfd_open,
            libc::SYS_landlock_create_ruleset,
        ] {
            assert_eq!(asked(false, number, &[u64::MAX; 6]), ALLOWED, "{number}");
        }
    }

    #[test]
    fn no_call_makes_a_namespace_unless_nested() {
        for flag in (0..32).map(|bit| 1u64 << bit) {
            let makes = flag & u64::from(NAMESPACES) != 0;
            assert_eq!(asked(false, libc::SYS_clone, &[flag | 17]) == REFUSED, makes, "clone {flag:#x}");
            assert_eq!(asked(false, libc::SYS_unshare, &[flag]) == REFUSED, makes || flag == 0x80, "unshare {flag:#x}");
            assert_eq!(asked(true, libc::SYS_clone, &[flag]), ALLOWED);
        }
    }

    #[test]
    fn no_call_sets_a_set_id_bit() {
        let create = (libc::O_CREAT | libc::O_WRONLY) as u64;
        for bit in [0o4755, 0o2755, 0o6755] {
            // Passed over: no error, and no call made either.
            let answer = if bit == 0o2755 { errno(0) } else { REFUSED };
            assert_eq!(asked(false, libc::SYS_fchmod, &[3, bit]), answer);
            assert_eq!(asked(false, libc::SYS_fchmodat, &[3, 0, bit]), answer);
            assert_eq!(asked(false, 452, &[3, 0, bit, 0]), answer);
            assert_eq!(asked(false, libc::SYS_mknodat, &[3, 0, bit]), REFUSED);
            assert_eq!(asked(false, libc::SYS_openat, &[3, 0, create, bit]), REFUSED);
            assert_eq!(asked(false, libc::SYS_openat, &[3, 0, libc::O_TMPFILE as u64 | 1, bit]), REFUSED);
            // Without O_CREAT the register holds whatever it held.
            assert_eq!(asked(false, libc::SYS_openat, &[3, 0, libc::O_DIRECTORY as u64, bit]), ALLOWED);
        }
        assert_eq!(asked(false, libc::SYS_openat, &[3, 0, create, 0o1777]), ALLOWED);
        assert_eq!(asked(false, libc::SYS_fchmod, &[3, 0o1777]), ALLOWED);
    }

    #[test]
    fn the_terminal_takes_no_injected_input_in_either_width() {
        for request in [0x5412u64, 0x541C, 0x5423] {
            assert_eq!(asked(false, libc::SYS_ioctl, &[0, request]), REFUSED);
            assert_eq!(asked(false, libc::SYS_ioctl, &[0, request | 1 << 32]), REFUSED);
        }
        assert_eq!(asked(false, libc::SYS_ioctl, &[0, 0x5401]), ALLOWED);
    }

    #[test]
    fn sockets_are_unix_internet_and_route() {
        for family in 0..60u64 {
            let wanted = if [1, 2, 10, 16].contains(&family) { ALLOWED } else { errno(libc::EAFNOSUPPORT) };
            assert_eq!(asked(false, libc::SYS_socket, &[family, 1, 0]), wanted, "{family}");
        }
        assert_eq!(asked(false, libc::SYS_socket, &[16, 3, 15]), errno(libc::EPROTONOSUPPORT));
        for protocol in [6, 17, 262] {
            assert_eq!(asked(false, libc::SYS_socket, &[2, 1, protocol]), ALLOWED);
        }
        for protocol in [132, 33, 136, 255] {
            assert_eq!(asked(false, libc::SYS_socket, &[10, 1, protocol]), errno(libc::EPROTONOSUPPORT));
        }
    }

    #[test]
    fn without_namespaces_no_socket_reaches_another_program_and_none_the_network_unless_given() {
        let open = program(&Scope { families: &FAMILIES[1..], ..scope(false) });
        let closed =
            program(&Scope { families: &[], pinned: true, counted: true, has_hosts_ipc: true, ..scope(false) });
        let socket = |filter: &[Instruction], family| {
            answered(filter, ARCHITECTURE, libc::SYS_socket, [family, 1, 0, 0, 0, 0]) == ALLOWED
        };
        assert_eq!([1, 2, 10, 16].map(|family| socket(&open, family)), [false, true, true, true]);
        assert_eq!([1, 2, 10, 16].map(|family| socket(&closed, family)), [false; 4]);
        let affinity = |filter: &[Instruction]| answered(filter, ARCHITECTURE, libc::SYS_sched_setaffinity, [0; 6]);
        assert_eq!((affinity(&open), affinity(&closed)), (ALLOWED, REFUSED));
        let memory_file = |filter: &[Instruction]| answered(filter, ARCHITECTURE, libc::SYS_memfd_create, [0; 6]);
        assert_eq!((memory_file(&open), memory_file(&closed)), (ALLOWED, MISSING));
        assert_eq!(answered(&closed, ARCHITECTURE, libc::SYS_socketpair, [1, 1, 0, 0, 0, 0]), ALLOWED);
    }

    #[test]
    fn where_landlock_does_not_see_truncation_nothing_is_emptied_but_by_writing() {
        let (families, nested, pinned, counted) = (&FAMILIES[1..], false, false, false);
        let old =
            program(&Scope { nested, families, pinned, counted, has_hosts_ipc: true, is_truncation_unseen: true });
        let open = |flags: i32| answered(&old, ARCHITECTURE, libc::SYS_openat, [0, 0, flags as u64, 0, 0, 0]);
        for mode in [libc::O_RDONLY, libc::O_ACCMODE] {
            assert_eq!(open(mode | libc::O_TRUNC), errno(libc::EACCES));
            assert_eq!(open(mode), ALLOWED);
        }
        for mode in [libc::O_WRONLY, libc::O_RDWR] {
            assert_eq!(open(mode | libc::O_TRUNC | libc::O_CREAT), ALLOWED);
        }
        assert_eq!(answered(&old, ARCHITECTURE, libc::SYS_truncate, [0; 6]), errno(libc::EACCES));
        assert_eq!(answered(&old, ARCHITECTURE, libc::SYS_openat2, [0; 6]), MISSING);
        assert_eq!(answered(&old, ARCHITECTURE, libc::SYS_ftruncate, [0; 6]), ALLOWED);
        assert_eq!(asked(false, libc::SYS_truncate, &[]), ALLOWED);
    }

    #[test]
    fn only_the_ordinary_personality_can_be_taken() {
        assert_eq!(asked(false, libc::SYS_personality, &[0xFFFF_FFFF]), ALLOWED);
        assert_eq!(asked(false, libc::SYS_personality, &[0]), ALLOWED);
        assert_eq!(asked(false, libc::SYS_personality, &[0x0040_0000]), REFUSED);
    }

    #[test]
    fn a_filter_that_reports_allows_nothing_that_the_other_one_refuses() {
        for nested in [false, true] {
            let scope = Scope { pinned: true, counted: true, has_hosts_ipc: true, ..scope(nested) };
            let plain = program(&scope);
            let reports = reporting(&plain);
            let interesting = [0, 1, 2, 16, 0x5412, 0o4755, 0o2755, 0x1000_0000, u64::MAX];
            for number in 0..i64::from(NEWEST) + 10 {
                for value in interesting {
                    let arguments = [value; 6];
                    let (one, other) = (
                        answered(&plain, ARCHITECTURE, number, arguments),
                        answered(&reports, ARCHITECTURE, number, arguments),
                    );
                    let is_same = one == other;
                    let is_reported = one & 0xFFFF_0000 == libc::SECCOMP_RET_ERRNO
                        && ![0, libc::ENOSYS as u32].contains(&(one & 0xFFFF))
                        && other == libc::SECCOMP_RET_USER_NOTIF;
                    assert!(is_same || is_reported, "{number} {value:#x}: {one:#x} {other:#x}");
                    assert_eq!(one == ALLOWED, other == ALLOWED);
                }
            }
        }
    }
}
