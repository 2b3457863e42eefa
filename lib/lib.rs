//! What two or more of sbox's programs share.
//!
//! The programs are small and talk to each other as processes; this library holds only the ground
//! they stand on: how a program starts and fails ([`cli`], [`error`], [`words`]), what a project is
//! ([`config`], [`project`], [`lockfile`], [`cache`]), how one program starts another ([`plumb`]),
//! and how to touch files that a hostile agent may have written ([`beneath`], [`fsx`]).

pub mod allow;
pub mod beneath;
pub mod bytecode;
pub mod cache;
pub mod check;
pub mod cli;
pub mod config;
pub mod confine;
pub mod daemon;
pub mod error;
pub mod fsx;
pub mod limits;
pub mod locate;
pub mod lockfile;
pub mod logs;
pub mod plumb;
pub mod process;
pub mod progress;
pub mod project;
pub mod provider;
pub mod record;
pub mod sys;
pub mod trust;
pub mod words;
