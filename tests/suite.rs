//! The one test program: every tool through its real executable, whole flows, and attacks.

#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

mod by_tool;
mod common;
mod escape;
mod flow;
mod layout;
mod manual;
