//! The runs of micromamba.

/// What micromamba does in one run, and what that needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Choose packages: network, the package cache for the channels' indexes.
    Choose,
    /// The same with what was fetched before, without a network.
    ChooseOffline,
    /// Fetch and unpack packages, and choose them first unless a list is given: the same.
    Fetch,
    /// Repair what is damaged in the package cache from what else is there: no network. micromamba's own `--offline` fetches
    /// the packages of a list all the same.
    Repair,
    /// Put them into the prefix and run their scripts: no network, the package cache read-only.
    Link,
    /// List what there is of a package.
    Search,
}

impl Step {
    pub fn has_network(self) -> bool {
        matches!(self, Step::Choose | Step::Fetch | Step::Search)
    }
}
