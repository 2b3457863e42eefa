//! One daemon of a project: what it is, and what it does.

use crate::config::Overrides;
use crate::process::Identity;
use crate::time;
use serde::{Deserialize, Serialize};

/// What a daemon does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its program was not executed yet.
    Starting,
    /// It runs.
    Running,
    /// It failed, and is started again in a moment.
    BackingOff,
    /// It was asked to end.
    Stopping,
    /// It was asked to end, and did.
    Stopped,
    /// It was asked to end, and `sbox restart` starts it again.
    Restarting,
    /// It ended by itself.
    Exited,
    /// It ended again and again, or its supervisor was killed.
    Failed,
}

impl State {
    /// Whether there is, or is to be, a supervisor.
    pub fn is_live(self) -> bool {
        matches!(self, State::Starting | State::Running | State::BackingOff | State::Stopping)
    }

    /// As `sbox ps` shows it.
    pub fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Running => "running",
            State::BackingOff => "backing-off",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
            State::Restarting => "restarting",
            State::Exited => "exited",
            State::Failed => "failed",
        }
    }
}

/// One daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The first process of its sandbox; 0 while there is none.
    pub pid: i32,
    /// The command itself, which `sbox exec --in` joins; 0 while there is none.
    #[serde(default)]
    pub command_pid: i32,
    /// Its name in the project.
    pub name: String,
    /// The command as a person wrote it.
    pub command: String,
    /// When it was started last: RFC 3339.
    pub start_time: String,
    /// What it does.
    pub status: State,
    /// The log.
    pub log_file: String,
    /// The project.
    pub project: String,
    /// The command as it is executed.
    #[serde(default)]
    pub words: Vec<String>,
    /// The isolation level that was named when it was started.
    #[serde(default)]
    pub isolation: Option<String>,
    /// What else was said in the place of the configuration.
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub options: Overrides,
    /// Who holds it.
    #[serde(default)]
    pub supervisor: Identity,
    /// How often it was started again by its supervisor.
    #[serde(default)]
    pub restarts: u32,
    /// The exit code when it ended last; 128 and the number of the signal that ended it.
    #[serde(default)]
    pub exit_code: Option<u8>,
    /// When it ended last: RFC 3339.
    #[serde(default)]
    pub ended_at: Option<String>,
    /// Why it is in this state, where that needs words.
    #[serde(default)]
    pub reason: Option<String>,
    /// Seconds that it has to end.
    #[serde(default)]
    pub stop_timeout: u64,
}

impl Record {
    /// `running`, `exited (3)`.
    pub fn shown_status(&self) -> String {
        match (self.status, self.exit_code) {
            (State::Exited, Some(code)) => format!("exited ({code})"),
            (status, _) => status.name().into(),
        }
    }

    /// Seconds since it was started, while it runs.
    pub fn uptime(&self) -> Option<u64> {
        let is_up = matches!(self.status, State::Running | State::Stopping);
        time::seconds_of(&self.start_time).filter(|_| is_up).map(|then| time::now().saturating_sub(then))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_the_first_version_is_read() {
        let text = r#"[{"pid":1,"name":"a","command":"x","start_time":"2026-01-30T12:00:00Z","status":"stopped",
            "log_file":"/p/.sbox/logs/a.log","project":"/p"}]"#;
        let records: Vec<Record> = serde_json::from_str(text).unwrap();
        assert_eq!(records[0].status, State::Stopped);
    }
}
