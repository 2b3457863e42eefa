//! The system calls that an agent does not get, each with what it would allow.
//!
//! Not in it is openat2, though its mode is behind a pointer and could set the set-uid bit where no filter sees it: real
//! agents open their files with it and with nothing else. What is born set-uid is dealt with by [`crate::watcher`], and by
//! nobody else getting into `.sbox`.
//!
//! Order does not matter here: [`crate::filter`] puts what looks at arguments first. A number is the same word on every
//! architecture; what one of them does not have is left out there.

use libc::c_long;

/// What a denied call answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `EPERM`: it is forbidden, and trying another way is of no use.
    Forbidden,
    /// `ENOSYS`: this kernel does not know it; programs then use the older call, which the filter can look into.
    Missing,
}

/// A call denied whatever its arguments are.
#[derive(Debug, Clone, Copy)]
pub struct Denied {
    pub number: c_long,
    /// As the libc crate names it: `SYS_mount`.
    name: &'static str,
    pub answer: Answer,
    /// Denied even with `nested`, where an agent may make its own namespaces and mounts.
    pub always: bool,
    pub why: &'static str,
}

impl Denied {
    /// The name of the call: `mount`.
    pub fn name(&self) -> &'static str {
        self.name.strip_prefix("SYS_").unwrap_or(self.name)
    }

    /// What the list says of a call.
    pub fn of(number: c_long) -> Option<&'static Denied> {
        EVERYWHERE.iter().chain(&BY_NUMBER).chain(HERE).find(|denied| denied.number == number)
    }
}

macro_rules! denied {
    ($($name:ident $answer:ident $always:literal $why:literal;)*) => {
        &[$(Denied { number: libc::$name, name: stringify!($name), answer: Answer::$answer, always: $always, why: $why }),*]
    };
}

/// Not in the libc crate for every architecture: the same numbers on all that have the generic table (linux
/// include/uapi/asm-generic/unistd.h), x86-64 included since 424.
const OPEN_TREE_ATTR: c_long = 467;
const STATMOUNT: c_long = 457;
const LISTMOUNT: c_long = 458;
const LSM_SET_SELF_ATTR: c_long = 460;

/// The newest call that this list was made with: 470, `listns` (Linux 6.19). What is newer nobody here has looked at, and
/// it is answered with `ENOSYS`.
pub const NEWEST: u32 = 470;

/// On every architecture.
pub const EVERYWHERE: &[Denied] = denied! {
    SYS_mount Forbidden false "covers files, or makes a read-only mount writable";
    SYS_umount2 Forbidden false "uncovers what a mount hides";
    SYS_pivot_root Forbidden false "exchanges the root";
    SYS_chroot Forbidden false "a second chroot is the classic way out of the first";
    SYS_move_mount Forbidden false "as mount";
    SYS_open_tree Forbidden false "takes a mount out of its place";
    SYS_fsopen Forbidden false "makes a file system: the parsers of disk images are not made for hostile ones";
    SYS_fsconfig Forbidden false "as fsopen";
    SYS_fsmount Forbidden false "as fsopen";
    SYS_fspick Forbidden false "reconfigures a mounted file system";
    SYS_mount_setattr Forbidden false "makes a read-only mount writable";
    SYS_setns Forbidden false "enters a namespace that a descriptor leads to";
    SYS_clone3 Missing false "its flags are behind a pointer, where no filter can look; clone is used instead";
    SYS_bpf Forbidden true "runs programs in the kernel";
    SYS_perf_event_open Forbidden true "watches the processor, other processes' secrets included";
    SYS_userfaultfd Forbidden true "stops the kernel in the middle of a copy, which most exploits of races need";
    SYS_io_uring_setup Forbidden true "does what other calls do past this filter";
    SYS_io_uring_enter Forbidden true "as io_uring_setup";
    SYS_io_uring_register Forbidden true "as io_uring_setup";
    SYS_add_key Forbidden true "keyrings belong to the user, not to the sandbox";
    SYS_request_key Forbidden true "as add_key; can start a program on the host";
    SYS_keyctl Forbidden true "as add_key; the user's keyring holds Kerberos and disk keys";
    SYS_kexec_load Forbidden true "exchanges the kernel";
    SYS_kexec_file_load Forbidden true "exchanges the kernel";
    SYS_init_module Forbidden true "loads code into the kernel";
    SYS_finit_module Forbidden true "loads code into the kernel";
    SYS_delete_module Forbidden true "unloads code from the kernel";
    SYS_open_by_handle_at Forbidden true "opens a file by number, past every mount (the 'shocker' escape)";
    SYS_acct Forbidden true "makes the kernel write a file of the caller's choice";
    SYS_swapon Forbidden true "reads and writes memory through a file";
    SYS_swapoff Forbidden true "as swapon";
    SYS_reboot Forbidden true "stops the machine";
    SYS_settimeofday Forbidden true "the clock is the host's";
    SYS_clock_settime Forbidden true "the clock is the host's";
    SYS_syslog Forbidden true "the kernel's messages tell addresses and other users' doings";
    SYS_quotactl Forbidden true "disk quotas are the host's";
    SYS_quotactl_fd Forbidden true "disk quotas are the host's";
    SYS_vhangup Forbidden true "hangs up the terminal of the caller";
    SYS_nfsservctl Forbidden true "configures a server of the host's";
    SYS_lookup_dcookie Forbidden true "tells paths of the host to profilers";
    SYS_fanotify_init Forbidden true "watches whole file systems";
    SYS_sethostname Forbidden false "the name was given";
    SYS_setdomainname Forbidden false "the name was given";
    SYS_move_pages Forbidden true "moves another process's memory, and tells where it is";
    SYS_migrate_pages Forbidden true "as move_pages";
};

/// Newer than the tables of some C libraries.
pub const BY_NUMBER: [Denied; 4] = [
    Denied {
        number: OPEN_TREE_ATTR,
        name: "open_tree_attr",
        answer: Answer::Forbidden,
        always: false,
        why: "as open_tree",
    },
    Denied {
        number: STATMOUNT,
        name: "statmount",
        answer: Answer::Missing,
        always: true,
        why: "tells where mounts come from on the host",
    },
    Denied { number: LISTMOUNT, name: "listmount", answer: Answer::Missing, always: true, why: "as statmount" },
    Denied {
        number: LSM_SET_SELF_ATTR,
        name: "lsm_set_self_attr",
        answer: Answer::Forbidden,
        always: true,
        why: "changes the security label",
    },
];

/// Calls that only one architecture has.
#[cfg(target_arch = "x86_64")]
pub const HERE: &[Denied] = denied! {
    SYS_modify_ldt Forbidden true "changes the processor's segments: the source of many exploits, the use of few programs";
    SYS_ioperm Forbidden true "talks to devices";
    SYS_iopl Forbidden true "talks to devices";
    SYS_uselib Forbidden true "an old loader that nobody maintains";
    SYS_sysfs Forbidden true "obsolete";
    SYS_ustat Forbidden true "obsolete; tells about devices by number";
    SYS__sysctl Forbidden true "obsolete; the kernel's settings";
};
#[cfg(not(target_arch = "x86_64"))]
pub const HERE: &[Denied] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_a_reason_and_a_number_of_its_own() {
        let all: Vec<&Denied> = EVERYWHERE.iter().chain(&BY_NUMBER).chain(HERE).collect();
        assert!(all.iter().all(|denied| denied.why.len() > 5 && denied.number as u64 <= NEWEST.into()));
        let mut numbers: Vec<_> = all.iter().map(|denied| denied.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), all.len());
    }
}
