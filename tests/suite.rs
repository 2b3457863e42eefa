//! The one test program: every tool through its real executable, whole flows, and attacks.

mod agents;
mod by_tool;
mod common;
mod escape;
mod flow;
mod layout;
mod manual;
mod named_sets;
mod stand_in;
mod system_calls;
mod terminal;
