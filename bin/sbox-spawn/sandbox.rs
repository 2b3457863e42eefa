//! What a sandbox is made of.

use crate::args::Args;
use crate::layer::Layer;
use crate::network::Proxy;
use libsbox::error::{Context, Error, Result};
use libsbox::operation::Op;
use libsbox::sys;
use rustix::time::Timespec;
use std::ffi::OsString;
use std::path::Path;

/// Everything that a sandbox is made of, known before anything is made.
pub struct Sandbox {
    pub args: Args,
    pub environment: Vec<(OsString, OsString)>,
    pub ops: Vec<Op>,
    /// Where this process's arguments and environment are in memory.
    argv_environ_ranges: Vec<(usize, usize)>,
    /// Of its copy-on-write mounts.
    pub layers: Vec<Layer>,
    /// What leads out to allowed names, where it had to be started before the root was planned.
    pub proxy: std::cell::RefCell<Option<Proxy>>,
    /// What writes down the paths that are looked up.
    pub learner: Option<crate::learn::Learner>,
    /// When this program was started, by the clock that files are stamped with.
    pub start: Timespec,
}

impl Sandbox {
    pub fn new(
        args: Args,
        environment: Vec<(OsString, OsString)>,
        ops: Vec<Op>,
        layers: Vec<Layer>,
        start: Timespec,
    ) -> Result<Sandbox> {
        let (argv_environ_ranges, proxy) = (argv_environ_ranges()?, std::cell::RefCell::default());
        Ok(Sandbox { args, environment, ops, argv_environ_ranges, layers, proxy, learner: None, start })
    }

    /// One that is made and ended without a command.
    pub fn for_a_trial(args: Args, ops: Vec<Op>, start: Timespec) -> Sandbox {
        let (environment, argv_environ_ranges) = (Vec::new(), Vec::new());
        let (layers, proxy) = (Vec::new(), std::cell::RefCell::default());
        Sandbox { args, environment, ops, argv_environ_ranges, layers, proxy, learner: None, start }
    }

    /// Where it has file systems in memory of its own that can be written.
    pub fn files_in_memory(&self) -> Vec<std::path::PathBuf> {
        let place = |op: &Op| match op {
            Op::Tmpfs { dst, seal: false, .. } => Some(dst.clone()),
            _ => None,
        };
        let mut all: Vec<_> = self.ops.iter().filter_map(place).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The layer of what is mounted at `dst`.
    pub fn layer(&self, dst: &Path) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.dst == dst)
    }

    /// The uid of the sandbox whose mounts this one shares, if it shares any.
    pub fn shared_uid(&self) -> Result<Option<u32>> {
        let mut all: Vec<u32> = self.layers.iter().filter_map(|layer| Some(layer.shared.as_ref()?.uid)).collect();
        all.dedup();
        if all.len() > 1 {
            return Err(Error::new(
                "the layers of two mounts are in use by two other sandboxes, which have different uids",
            )
            .hint("end one of them first"));
        }
        Ok(all.pop())
    }

    /// Overwrites what `/proc/PID/cmdline` and `environ` of this process would show.
    pub fn hide_argv_and_environ(&self) {
        sys::wipe(&self.argv_environ_ranges);
    }
}

/// The addresses of this process's arguments and environment: fields 48 to 51 of proc_pid_stat(5).
fn argv_environ_ranges() -> Result<Vec<(usize, usize)>> {
    let stat = std::fs::read_to_string("/proc/self/stat").context(|| "read '/proc/self/stat'".into())?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<usize> = after_name.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    let ranges = [(field(48), field(49)), (field(50), field(51))];
    Ok(ranges.into_iter().filter(|(start, end)| *start != 0 && start < end).collect())
}
