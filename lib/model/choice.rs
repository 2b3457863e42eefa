//! Values that are one of a few words.

use crate::error::Error;
use crate::escape::visible;
use crate::suggest;

/// An enum whose variants have names: what a configuration and a command line may say, in the order of the manual.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// The words, in the order of the manual.
            pub const NAMES: &[&str] = &[$($word),+];

            /// The word for it.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::error::Error;

            fn from_str(text: &str) -> Result<$name, $crate::error::Error> {
                match text {
                    $($word => Ok($name::$variant),)+
                    _ => Err($crate::model::choice::unknown($what, text, $name::NAMES)),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

choice! {
    /// What enforces the boundary, strongest first.
    Level, "isolation level" {
        /// Namespaces and a system call filter: what is not mounted does not exist.
        Namespace = "namespace",
        /// Landlock: what is not mounted is denied.
        Landlock = "landlock",
        /// Nothing: only the environment is arranged.
        Env = "env",
    }
}

choice! {
    /// The level that a configuration or a command line asks for.
    Isolation, "isolation level" {
        /// The strongest that the host supports.
        Auto = "auto",
        /// [`Level::Namespace`] or an error.
        Namespace = "namespace",
        /// [`Level::Landlock`] or an error.
        Landlock = "landlock",
        /// [`Level::Env`].
        Env = "env",
    }
}

choice! {
    /// What the agent can do with a mount.
    MountMode, "mode" {
        /// Read it.
        ReadOnly = "ro",
        /// Change the files of the host, at once.
        ReadWrite = "rw",
        /// Change what it sees; the host's files stay as they are until the changes are applied.
        CopyOnWrite = "cow",
    }
}

choice! {
    /// The network modes of `sbox-spawn`.
    #[derive(Default)]
    NetworkMode, "network" {
        /// All that the host can reach.
        #[default]
        Host = "host",
        /// Its own loopback.
        None = "none",
        /// Its own loopback, and names through a proxy.
        Proxy = "proxy",
    }
}

choice! {
    /// When a daemon that has ended is started again.
    RestartPolicy, "restart policy" {
        /// Never.
        No = "no",
        /// When its exit code was not 0.
        OnFailure = "on-failure",
        /// Always, until it is stopped.
        Always = "always",
    }
}

impl RestartPolicy {
    /// Whether a daemon that ended with this exit code is started again.
    pub fn wants(self, code: u8) -> bool {
        match self {
            RestartPolicy::No => false,
            RestartPolicy::OnFailure => code != 0,
            RestartPolicy::Always => true,
        }
    }
}

impl Isolation {
    /// The level that was asked for by name; nothing for `auto`.
    pub fn named(self) -> Option<Level> {
        match self {
            Isolation::Auto => None,
            Isolation::Namespace => Some(Level::Namespace),
            Isolation::Landlock => Some(Level::Landlock),
            Isolation::Env => Some(Level::Env),
        }
    }
}

impl From<Level> for Isolation {
    fn from(level: Level) -> Isolation {
        match level {
            Level::Namespace => Isolation::Namespace,
            Level::Landlock => Isolation::Landlock,
            Level::Env => Isolation::Env,
        }
    }
}

/// The error for a word that is not one of `known`.
pub(super) fn unknown(what: &str, text: &str, known: &[&str]) -> Error {
    Error::usage(format!("unknown {what}: '{}'", visible(text))).hint(suggest::hint(text, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back_and_a_slip_is_recognised() {
        for word in Isolation::NAMES {
            assert_eq!(word.parse::<Isolation>().unwrap().name(), *word);
        }
        let error = "namspace".parse::<Level>().unwrap_err();
        assert_eq!(error.to_string(), "unknown isolation level: 'namspace'");
        assert_eq!(error.hint_text(), Some("did you mean 'namespace'?"));
    }
}
