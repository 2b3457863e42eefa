//! The words of a configuration as types: parsed once, carried as values, printed when they become an argument.

#[macro_use]
mod choice;
mod device;
mod host_rule;
mod host_rules;
mod limits;
mod name_set;
mod network;
mod ports;
mod private_paths;
mod runtime;
pub mod secret;
mod size;
mod system_dirs;

pub use choice::{Isolation, Level, MountMode, NetworkMode, RestartPolicy};
pub use device::Device;
pub use host_rule::{DEFAULT_PORTS, HostRule, Place, host_name};
pub use host_rules::{Grant, HostRules};
pub use limits::{DEFAULT_PIDS, LIMITS, Limits};
pub use name_set::{NameSet, VENDORS, Vendor};
pub use network::{NameRule, Network};
pub use ports::{MOST_REACHED, ports};
pub use private_paths::is_private;
pub use runtime::{Language, Runtime};
pub use size::{bytes, seconds, span_written, written as size_written};
pub use system_dirs::{SYSTEM_DIRS, is_system, reserved};

/// Where the proxy to allowed names is on the sandbox's loopback: the usual port of one.
pub const PROXY_PORT: u16 = 3128;

/// The directories of the system in which programs are looked for, after those of the environment.
pub const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
