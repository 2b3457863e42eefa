//! The agent's commits.
use libsbox::config::Config;
use libsbox::error::{Error, Result};
use libsbox::project::Project;
use std::path::PathBuf;

pub fn bring(_: &Project, _: &Config, _: &[PathBuf], _: bool) -> Result<u8> {
    Err(Error::new("not yet"))
}
