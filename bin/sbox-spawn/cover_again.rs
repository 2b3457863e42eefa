//! Covering again, from outside, what the user replaced on the host while the sandbox runs.
//!
//! A mount hangs on the file that was there: `git config`, or an editor that writes beside and renames, takes it away. A
//! process of ours enters the sandbox's mount namespace, as `--join` does, and puts the cover on the new file.

use crate::assemble;
use crate::join;
use libsbox::operation::Op;
use libsbox::process::Table;
use libsbox::sys::{self, Fork};
use rustix::process::{Pid, WaitOptions};

/// Executes `op` in the sandbox whose first process is `init`, if what is at its place there is `wanted` (device and
/// inode). Tells whether it was done.
pub fn cover_again(init: Pid, op: &Op, wanted: (u64, u64)) -> bool {
    match sys::fork() {
        Ok(Fork::Child) => {
            // Pid 1 lets only root in; the command, its child, lets its own user in, too.
            let command = Table::read().children(init.as_raw_pid()).into_iter().filter_map(Pid::from_raw);
            let entered = std::iter::once(init).chain(command).any(|process| join::enter_mounts(process).is_ok());
            let done = entered && assemble::execute_here(op, wanted).is_ok();
            crate::report::end(if done { 0 } else { 1 })
        }
        Ok(Fork::Parent(child)) => loop {
            match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
                Ok(Some((_, status))) => return status.exit_status() == Some(0),
                Err(rustix::io::Errno::INTR) | Ok(None) => {}
                Err(_) => return false,
            }
        },
        Err(_) => false,
    }
}
