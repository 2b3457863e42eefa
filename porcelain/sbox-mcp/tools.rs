//! The tools, as the client's model reads of them.

use crate::cut;
use serde_json::{Value, json};

/// What the model is told first.
pub const INSTRUCTIONS: &str = "\
These tools work in a sandbox. A file that is not mounted there does not exist, and only allowed names of the network are \
reached. 'policy' says what there is; 'why' says of one path, host or program whether it is there and which line of the \
configuration would change that. What you change in copy-on-write mounts reaches the user's files only through 'apply', which \
asks the user. Nothing that you do in the sandbox can change its limits; ask the user for what is missing.";

/// Every tool, always in the same order.
pub fn list() -> Vec<Value> {
    let text = |what: &str| json!({"type": "string", "description": what});
    let most = cut::MOST / 1024;
    let tool = |name: &str, what: &str, properties: Value, required: &[&str], reads_only: bool| {
        json!({
            "name": name,
            "description": what,
            "inputSchema": {"type": "object", "properties": properties, "required": required, "additionalProperties": false},
            "annotations": {"readOnlyHint": reads_only, "openWorldHint": name == "run", "destructiveHint": matches!(name, "run" | "write" | "apply")},
        })
    };
    vec![
        tool(
            "run",
            &format!(
                "Run a command in the sandbox and wait for its end. Its exit code is in the answer; one that is not 0 is a result, not an error of this tool. Of longer output the first and the last {} kB are kept.",
                most / 2
            ),
            json!({
                "command": text("a line for sh, or with 'args' the program"),
                "args": {"type": "array", "items": {"type": "string"}, "description": "the program's arguments, as they are"},
                "cwd": text("the directory to start in; without it the project's own"),
                "stdin": text("what the command reads"),
                "timeout_seconds": {"type": "integer", "minimum": 1, "description": "end it after that many seconds"},
            }),
            &["command"],
            false,
        ),
        tool(
            "read",
            &format!("Read a file of the sandbox as text; at most {most} kB at once."),
            json!({
                "path": text("absolute, or from the directory in which commands start"),
                "offset": {"type": "integer", "minimum": 0, "description": "bytes to skip"},
                "limit": {"type": "integer", "minimum": 1, "description": "bytes to read"},
            }),
            &["path"],
            true,
        ),
        tool(
            "write",
            "Write a file of the sandbox, whole. Directories on the way to it are made.",
            json!({"path": text("absolute, or from the directory in which commands start"), "content": text("what is to be in it")}),
            &["path", "content"],
            false,
        ),
        tool(
            "list",
            "List a directory of the sandbox.",
            json!({"path": text("the directory; without it the one in which commands start")}),
            &[],
            true,
        ),
        tool(
            "diff",
            "Show what was changed in copy-on-write mounts and is not applied yet, as a patch.",
            json!({
                "paths": {"type": "array", "items": {"type": "string"}, "description": "only at or below these"},
                "stat": {"type": "boolean", "description": "only names and how much"},
            }),
            &[],
            true,
        ),
        tool(
            "apply",
            "Bring changes in copy-on-write mounts to the user's own files. The user is asked.",
            json!({
                "paths": {"type": "array", "items": {"type": "string"}, "description": "only at or below these; files that the user's own programs act on have to be named"},
                "partial": {"type": "boolean", "description": "leave files that the user changed, too, and apply the rest"},
                "dry_run": {"type": "boolean", "description": "only say what would be applied"},
            }),
            &[],
            false,
        ),
        tool(
            "logs",
            "Show what a daemon printed, or what was asked of the network.",
            json!({
                "name": text("the daemon; without it the project's own"),
                "lines": {"type": "integer", "minimum": 1, "description": "so many of the last lines [100]"},
                "network": {"type": "boolean", "description": "requests to the network instead"},
            }),
            &[],
            true,
        ),
        tool(
            "report",
            "Say what the last runs did: names refused, limits met, files changed.",
            json!({"name": text("a daemon")}),
            &[],
            true,
        ),
        tool(
            "why",
            "Say whether the sandbox has a path, a host or a program, by which rule, and which line of the configuration would change it.",
            json!({"subject": text("a path, a host with or without a port, or the name of a program")}),
            &["subject"],
            true,
        ),
        tool(
            "policy",
            "Say what is in the sandbox, which names the network leads to, and which limits there are.",
            json!({}),
            &[],
            true,
        ),
    ]
}
