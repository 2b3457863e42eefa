//! Calls that no agent needs.

use crate::{Attempt, looked_at, socket};
use libsbox::sys::attempt;

macro_rules! calls {
    ($($class:literal $name:literal $number:ident $first:literal $what:literal;)*) => {
        &[$(Attempt { class: $class, name: $name, what: $what, run: |_| looked_at(attempt::try_call(libc::$number, $first)) }),*,
          Attempt { class: "kernel", name: "personality", what: "turn address randomization off", run: |_| looked_at(attempt::try_personality()) },
          Attempt { class: "kernel", name: "crypto-socket", what: "use the kernel's crypto interface", run: |_| socket(38, 5, 0) },
          Attempt { class: "kernel", name: "packet-socket", what: "listen to the network's packets", run: |_| socket(17, 3, 0) },
          Attempt { class: "kernel", name: "bluetooth-socket", what: "load a driver of a rare protocol", run: |_| socket(31, 5, 0) },
          Attempt { class: "kernel", name: "netlink-audit", what: "talk to the audit system", run: |_| socket(16, 3, 9) },
        ]
    };
}

pub const ATTEMPTS: &[Attempt] = calls! {
    "privilege" "mount" SYS_mount 0 "mount something";
    "privilege" "umount" SYS_umount2 0 "unmount something";
    "privilege" "pivot-root" SYS_pivot_root 0 "exchange the root";
    "privilege" "chroot" SYS_chroot 0 "chroot";
    "privilege" "setns" SYS_setns -1 "enter another namespace";
    "privilege" "fsopen" SYS_fsopen 0 "make a file system";
    "privilege" "open-tree" SYS_open_tree -1 "take a mount out of its place";
    "privilege" "move-mount" SYS_move_mount -1 "move a mount";
    "privilege" "mount-setattr" SYS_mount_setattr -1 "make a mount writable";
    "privilege" "clone3" SYS_clone3 0 "use the clone that no filter can look into";
    "files" "open-by-handle" SYS_open_by_handle_at -1 "open a file by number, past all mounts";
    "kernel" "bpf" SYS_bpf -1 "load a program into the kernel";
    "kernel" "perf" SYS_perf_event_open 0 "watch the processor";
    "kernel" "userfaultfd" SYS_userfaultfd -1 "stop the kernel in the middle of a copy";
    "kernel" "io-uring-setup" SYS_io_uring_setup 0 "make an io_uring";
    "kernel" "io-uring-enter" SYS_io_uring_enter -1 "use an io_uring";
    "kernel" "io-uring-register" SYS_io_uring_register -1 "prepare an io_uring";
    "ipc" "add-key" SYS_add_key 0 "plant a key in the user's keyring";
    "ipc" "request-key" SYS_request_key 0 "find a key";
    "ipc" "keyctl" SYS_keyctl -1 "read a keyring";
    "kernel" "kexec" SYS_kexec_load 0 "exchange the kernel";
    "kernel" "init-module" SYS_init_module 0 "load a driver";
    "kernel" "finit-module" SYS_finit_module -1 "load a driver from a file";
    "kernel" "delete-module" SYS_delete_module 0 "unload a driver";
    "kernel" "syslog" SYS_syslog 10 "read the kernel's messages";
    "kernel" "fanotify" SYS_fanotify_init -1 "watch a whole file system";
    "kernel" "move-pages" SYS_move_pages 0 "move memory about";
};
