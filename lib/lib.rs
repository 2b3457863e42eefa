//! What two or more of sbox's programs share.
//!
//! The programs are small and talk to each other as processes; this library holds what they have in common: how a program
//! starts, fails and speaks ([`cli`], [`error`], [`output`]), what a project is ([`config`], [`project`], [`lockfile`],
//! [`cache`]), how one program starts another ([`plumbing`]), and how to touch files: the user's own ([`fs`]), and those
//! that a hostile agent may have written ([`dir`]).

pub mod address;
pub mod built;
pub mod bytecode;
pub mod cache;
pub mod certificates;
pub mod check;
pub mod checksums;
pub mod cli;
pub mod commands;
pub mod config;
pub mod config_lines;
pub mod cow;
pub mod daemon;
pub mod dir;
pub mod dotenv;
pub mod environment;
pub mod error;
pub mod escape;
pub mod format;
pub mod fs;
pub mod git;
pub mod git_identity;
pub mod host_triggers;
pub mod host_variables;
pub mod inner_source;
pub mod locate;
pub mod lockfile;
pub mod logs;
pub mod marks;
pub mod model;
pub mod name_rules;
pub mod one_off;
pub mod operation;
pub mod output;
pub mod plumbing;
pub mod policy;
pub mod process;
pub mod progress;
pub mod project;
pub mod promises;
pub mod provider;
pub mod record;
pub mod registries;
pub mod sites;
pub mod status;
pub mod suggest;
pub mod sys;
#[doc(hidden)]
pub mod testing;
pub mod thread;
pub mod time;
pub mod trust;
pub mod view;
pub mod width;
