//! An environment of the cache that a one-off run sees copy-on-write, where it is: nothing is copied, nothing relocated.
//!
//! Inside it appears at the path that is written in its files, which only level `namespace` can give. What the agent changes of
//! it goes to a layer of the run's own. The entry is held while the run goes on, so that nobody removes it.

use super::spawn;
use crate::cache::{self, Entry};
use crate::config::Config;
use crate::error::{Context, Result};
use crate::fs;
use crate::model::Isolation;
use crate::project::Project;
use crate::registries::Registries;
use std::path::{Path, PathBuf};

/// The environment, and what holds it.
#[derive(Debug)]
pub struct CachedEnv {
    entry: Entry,
    _held: fs::Lock,
}

impl CachedEnv {
    /// The newest that serves a configuration. Nothing if the cache has none in which all of its runtimes are, or if it was not
    /// asked yet what its clients have built in.
    pub fn find(config: &Config) -> Result<Option<CachedEnv>> {
        let Some(first) = config.runtimes.first() else { return Ok(None) };
        let request = cache::request(&config.runtimes, &config.channels, &config.packages);
        let fits = |entry: &Entry| {
            entry.request == request
                && (config.provider == "auto" || entry.provider == config.provider)
                && cache::registries(entry).is_some()
        };
        for entry in cache::entries(first)?.into_iter().filter(fits) {
            // A cache that cannot be written holds nothing, and nobody removes anything from it.
            let Ok(_held) = cache::hold(&entry) else { continue };
            if entry.path.join("env").is_dir() {
                cache::touch(&entry);
                return Ok(Some(CachedEnv { entry, _held }));
            }
        }
        Ok(None)
    }

    /// Makes its layer in a project. `false` if it cannot be shown there: it is to be copied then.
    pub fn prepare(&self, project: &Project, config: &Config) -> Result<bool> {
        let is_namespace = matches!(config.isolation, Isolation::Auto | Isolation::Namespace);
        // The way to it would be made in a directory of the user's.
        let is_free = !config.mount.iter().any(|mount| self.prefix().starts_with(&mount.dst));
        if !is_namespace || !is_free || project.with_env_at(self.prefix()).is_err() {
            return Ok(false);
        }
        let layer = project.env_layer();
        fs::make_dirs(&layer.join("work"))?;
        fs::make_dirs(&layer.join("upper"))?;
        // The root of the overlay has the mode of the upper directory.
        let shown = || format!("prepare '{}'", crate::escape::visible_path(&layer));
        let mode = std::fs::metadata(self.env()).context(shown)?.permissions();
        std::fs::set_permissions(layer.join("upper"), mode).context(shown)?;
        if spawn::can_overlay_own(&self.env(), self.prefix(), &layer) {
            return Ok(true);
        }
        fs::remove_tree(&layer).map(|()| false)
    }

    /// Where it is.
    pub fn env(&self) -> PathBuf {
        self.entry.path.join("env")
    }

    /// Where it appears.
    pub fn prefix(&self) -> &Path {
        &self.entry.prefix
    }

    /// What its npm and pip have built in.
    pub fn registries(&self) -> Registries {
        cache::registries(&self.entry).unwrap_or_default()
    }
}
