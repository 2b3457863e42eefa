//! The one test program: every tool through its real executable, whole flows, and attacks.

mod agents;
mod by_tool;
mod common;
mod escape;
mod extensions;
mod faults;
mod flow;
mod layout;
mod looks;
mod manual;
mod named_sets;
mod one_off;
mod protocols;
mod release;
mod scarcity;
#[cfg(feature = "secrets")]
mod secrets;
mod stand_in;
mod system_calls;
mod terminal;
