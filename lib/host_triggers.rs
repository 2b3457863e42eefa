//! Files that programs of the host act on by themselves: one table, each line with its reason.
//!
//! An agent that may write in a directory of the user's can leave one of these there and wait until the user enters it,
//! opens it in an editor or starts a tool. What is not listed is what somebody has to start by name (`Makefile`,
//! `package.json`, a test): whoever runs a project's programs runs what is in it. What git(1) acts on is in [`crate::git`].

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What is done about one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It is kept from the agent: one that exists is read-only, a new one is moved away.
    Protected,
    /// Agents change it in ordinary work, and it acts only together with something else: it is reported.
    Reported,
}

/// One line of the table.
#[derive(Debug)]
pub struct HostTrigger {
    /// A name (`.envrc`), the start or the end of one (`*.code-workspace`), or names that follow each other
    /// (`.cargo/config.toml`), at any depth.
    pub pattern: &'static str,
    /// Who acts on it, and how.
    pub reason: &'static str,
    /// What is done about it.
    pub weight: Weight,
}

const fn protected(pattern: &'static str, reason: &'static str) -> HostTrigger {
    HostTrigger { pattern, reason, weight: Weight::Protected }
}

const fn reported(pattern: &'static str, reason: &'static str) -> HostTrigger {
    HostTrigger { pattern, reason, weight: Weight::Reported }
}

/// The table. A directory counts with everything in it.
pub const HOST_TRIGGERS: &[HostTrigger] = &[
    // What a shell reads when it enters a directory or starts.
    protected(".envrc", "direnv runs it when a shell enters the directory"),
    reported(".env", "autoenv runs it when a shell enters the directory, and oh-my-zsh's dotenv after a question"),
    protected(".autoenv.zsh", "zsh-autoenv runs it when a shell enters the directory"),
    protected(".direnvrc", "direnv runs it before every .envrc"),
    protected(".bashrc", "bash runs it at start"),
    protected(".bash_profile", "bash runs it at login"),
    protected(".bash_login", "bash runs it at login"),
    protected(".bash_logout", "bash runs it at logout"),
    protected(".bash_aliases", "bash runs it at start, where .bashrc does as Debian's"),
    protected(".profile", "shells run it at login"),
    protected(".xprofile", "the desktop runs it at login"),
    protected(".zshrc", "zsh runs it at start"),
    protected(".zshenv", "zsh runs it at every start, also of scripts"),
    protected(".zprofile", "zsh runs it at login"),
    protected(".zlogin", "zsh runs it at login"),
    protected(".zlogout", "zsh runs it at logout"),
    protected(".kshrc", "ksh runs it at start"),
    protected(".cshrc", "csh runs it at start"),
    protected(".tcshrc", "tcsh runs it at start"),
    protected(".inputrc", "readline binds keys to commands as it says"),
    protected(".config/fish", "fish runs what is in it at start"),
    protected("mise.toml", "mise sets variables and runs hooks of it when a shell enters the directory"),
    protected(".mise.toml", "mise sets variables and runs hooks of it when a shell enters the directory"),
    protected("mise.local.toml", "mise sets variables and runs hooks of it when a shell enters the directory"),
    protected(".mise.local.toml", "mise sets variables and runs hooks of it when a shell enters the directory"),
    protected(".mise", "mise reads its configuration and tasks from it"),
    protected(".config/mise", "mise reads its configuration and tasks from it"),
    protected(".config/mise.toml", "mise sets variables and runs hooks of it when a shell enters the directory"),
    reported(".tool-versions", "asdf and mise choose the programs of a directory by it"),
    // Editors.
    protected(".vscode", "VS Code and its relatives run tasks and programs that it names"),
    protected("*.code-workspace", "VS Code takes settings and tasks from it"),
    protected(".devcontainer", "editors run its commands, some of them on the host"),
    protected(".devcontainer.json", "editors run its commands, some of them on the host"),
    protected(".idea", "JetBrains editors run what its configurations name"),
    protected(".fleet", "Fleet runs what its configurations name"),
    protected(".zed", "Zed starts the language servers and tasks that it names"),
    protected(".helix", "Helix starts the language servers that it names"),
    protected(".sublime-project", "Sublime Text takes build systems from it"),
    protected(".exrc", "vi and Vim run its commands in the directory they start in"),
    protected(".vimrc", "Vim runs it"),
    protected(".vim", "Vim's plugins start the language servers that its settings name"),
    protected(".gvimrc", "Vim runs it"),
    protected(".lvimrc", "Vim's plugin for local settings runs it"),
    protected(".nvimrc", "Neovim runs it in the directory it starts in"),
    protected(".nvim.lua", "Neovim runs it in the directory it starts in"),
    protected(".config/nvim", "Neovim runs it at start"),
    protected(".dir-locals.el", "Emacs sets variables and evaluates forms of it"),
    protected(".dir-locals-2.el", "Emacs sets variables and evaluates forms of it"),
    protected(".ycm_extra_conf.py", "YouCompleteMe runs it"),
    // Coding agents that the user starts without a sandbox.
    protected(".claude", "Claude Code runs its hooks and allows what its settings say"),
    protected(".claude.json", "Claude Code starts the servers that it names"),
    protected(".mcp.json", "coding agents start the servers that it names"),
    protected(".codex", "Codex takes settings, rules and servers from it"),
    protected(".cursor", "Cursor starts the servers and hooks that it names"),
    protected(".gemini", "Gemini CLI starts the servers that its settings name"),
    protected(".qwen", "Qwen Code starts the servers that its settings name"),
    protected(".opencode", "opencode runs the plugins in it"),
    protected("opencode.json", "opencode starts the servers that it names"),
    protected("opencode.jsonc", "opencode starts the servers that it names"),
    protected(".crush.json", "Crush starts the servers that it names"),
    protected("crush.json", "Crush starts the servers that it names"),
    protected(".continue", "Continue starts the servers that it names"),
    protected(".windsurf", "Windsurf takes rules and workflows from it"),
    protected(".roo", "Roo Code starts the servers that it names"),
    protected(".kiro", "Kiro runs its hooks and starts the servers that it names"),
    protected(".amazonq", "Amazon Q starts the servers that it names"),
    protected(".aider.conf.yml", "aider runs the test and lint commands of it"),
    // Version control beside what is in a repository.
    protected(".gitconfig", "git takes settings from it where it is somebody's home, programs to run among them"),
    protected(".config/git", "git takes settings from it where it is below somebody's home"),
    protected(".hg/hgrc", "Mercurial runs the hooks of it"),
    protected(".hg/hgrc-not-shared", "Mercurial runs the hooks of it"),
    protected(".hg/sharedpath", "Mercurial takes the repository, and its hooks, from where it leads"),
    protected(".jj", "Jujutsu starts the programs that the configuration in it names"),
    protected(".husky", "git runs its files as hooks where husky is set up"),
    protected(".githooks", "git runs its files as hooks where core.hooksPath says so"),
    reported(".gitmodules", "git takes the addresses of submodules from it"),
    reported(".gitattributes", "git runs the filters that it chooses, of those that the configuration has"),
    reported(".pre-commit-config.yaml", "pre-commit runs what it names before a commit, where its hook is installed"),
    reported("lefthook.yml", "lefthook runs its commands as hooks, where they are installed"),
    reported(".lefthook.yml", "lefthook runs its commands as hooks, where they are installed"),
    // Tools that take programs or code from the directory they are started in, whatever they are asked to do.
    protected(".cargo/config.toml", "cargo starts the compilers and wrappers that it names"),
    protected(".cargo/config", "cargo starts the compilers and wrappers that it names"),
    protected("rust-toolchain.toml", "rustup takes the compiler from the directory that it names"),
    protected("rust-toolchain", "rustup takes the compiler from the directory that it names"),
    protected(".yarnrc.yml", "yarn runs the file that yarnPath names instead of itself"),
    protected(".yarnrc", "yarn runs the file that yarn-path names instead of itself"),
    protected(".yarn/releases", "yarn runs the file in it instead of itself"),
    protected(".yarn/plugins", "yarn runs the plugins in it"),
    protected(".pnpmfile.cjs", "pnpm runs it at every install"),
    protected(".pnpmfile.mjs", "pnpm runs it at every install"),
    reported(".npmrc", "npm takes the shell of its scripts and options of Node.js from it"),
    protected(".mvn", "Maven loads the extensions and JVM options of it"),
    protected(".bundle/config", "Bundler takes paths of programs from it"),
    protected(".ripgreprc", "ripgrep starts the preprocessor that it names, where the environment points to it"),
    protected(".pdbrc", "Python's debugger runs its commands in the directory it starts in"),
    protected(".pdbrc.py", "IPython's debuggers run it in the directory they start in"),
    protected(".byebugrc", "Ruby's debugger runs its commands in the directory it starts in"),
    protected(".octaverc", "Octave runs it in the directory it starts in"),
    protected(".gdbinit", "gdb runs its commands"),
    protected(".gdbearlyinit", "gdb runs its commands"),
    protected(".lldbinit", "lldb runs its commands"),
    protected(".pythonrc", "Python runs it where PYTHONSTARTUP points to it"),
    protected(".pythonrc.py", "Python runs it where PYTHONSTARTUP points to it"),
    protected(".Rprofile", "R runs it in the directory it starts in"),
    protected(".Renviron", "R takes paths of its libraries from it"),
    protected(".ghci", "GHCi runs its commands in the directory it starts in"),
    protected(".irbrc", "irb runs it"),
    protected(".pryrc", "Pry runs it in the directory it starts in"),
    protected(".psqlrc", "psql runs its commands"),
    protected(".bazelrc", "Bazel takes options from it, programs to start among them"),
    protected(".tmux.conf", "tmux runs its commands at start"),
    protected(".screenrc", "screen runs its commands at start"),
    // A home directory.
    protected(".ssh", "ssh runs the commands of its configuration, and its keys let others in"),
    protected(".gnupg", "GnuPG starts the programs that it names"),
    protected(".config/autostart", "the desktop starts what is in it at login"),
    protected(".config/systemd", "systemd starts what is in it at login"),
    protected(".local/bin", "shells find programs in it before the system's"),
    // sbox itself.
    protected(".sbox", "its configuration says how your next run is confined"),
    protected("sbox.lock", "sbox builds what it says"),
];

/// The line for what has exactly this path below some directory: its last names fit a pattern.
pub fn named(path: &Path) -> Option<&'static HostTrigger> {
    entry(path.parent().and_then(Path::file_name), path.file_name()?)
}

/// The line for the entry `name` of a directory called `above`.
pub fn entry(above: Option<&OsStr>, name: &OsStr) -> Option<&'static HostTrigger> {
    let name = name.to_str()?;
    let above = || above.and_then(OsStr::to_str);
    let by_end = || {
        let ends = |trigger: &&&HostTrigger| trigger.pattern.strip_prefix('*').is_some_and(|end| name.ends_with(end));
        index().ends.iter().find(ends).copied()
    };
    let fits =
        |trigger: &&&HostTrigger| trigger.pattern.split_once('/').is_none_or(|(first, _)| above() == Some(first));
    index().names.get(name).and_then(|all| all.iter().find(fits)).copied().or_else(by_end)
}

/// The table by the last name of each pattern: every entry of a large tree is asked for.
struct Index {
    names: HashMap<&'static str, Vec<&'static HostTrigger>>,
    ends: Vec<&'static HostTrigger>,
}

fn index() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut index = Index { names: HashMap::new(), ends: Vec::new() };
        for trigger in HOST_TRIGGERS {
            match trigger.pattern.starts_with('*') {
                true => index.ends.push(trigger),
                false => {
                    let last = trigger.pattern.rsplit('/').next().unwrap_or(trigger.pattern);
                    index.names.entry(last).or_default().push(trigger);
                }
            }
        }
        index
    })
}

/// The line for a path or for a directory that it is in, and the part of the path that fits it.
pub fn judge(path: &Path) -> Option<(&'static HostTrigger, PathBuf)> {
    let mut tops: Vec<&Path> = path.ancestors().filter(|top| !top.as_os_str().is_empty()).collect();
    tops.reverse();
    tops.into_iter().find_map(|top| Some((named(top)?, top.to_owned())))
}

/// Whether a directory of this name makes what is in it a trigger, by a pattern of two names.
pub fn starts_a_pattern(name: &OsStr) -> bool {
    HOST_TRIGGERS.iter().any(|trigger| trigger.pattern.split_once('/').is_some_and(|(first, _)| name == first))
}

/// The names of the table that can be looked for one by one, relative to a directory: where nobody may list it.
pub fn plain_names() -> impl Iterator<Item = &'static str> {
    HOST_TRIGGERS.iter().map(|trigger| trigger.pattern).filter(|pattern| !pattern.starts_with('*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(path: &str) -> Option<&'static str> {
        judge(Path::new(path)).map(|(trigger, _)| trigger.pattern)
    }

    #[test]
    fn a_pattern_fits_at_any_depth_and_for_all_that_is_below() {
        assert_eq!(fits(".envrc"), Some(".envrc"));
        assert_eq!(fits("a/b/.vscode/tasks.json"), Some(".vscode"));
        assert_eq!(judge(Path::new("a/.claude/x/y")).unwrap().1, Path::new("a/.claude"));
        assert_eq!(fits("a/.cargo/config.toml"), Some(".cargo/config.toml"));
        assert_eq!(fits("a/b.code-workspace"), Some("*.code-workspace"));
    }

    #[test]
    fn a_name_that_only_looks_like_one_does_not_fit() {
        for path in [".envrc.bak", "envrc", ".cargo/registry/x", "config.toml", ".gitignore", ""] {
            assert_eq!(fits(path), None, "{path}");
        }
    }

    #[test]
    fn every_line_has_a_reason_and_no_pattern_comes_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for trigger in HOST_TRIGGERS {
            assert!(seen.insert(trigger.pattern), "{}", trigger.pattern);
            assert!(trigger.reason.len() > 10 && !trigger.reason.ends_with('.'), "{}", trigger.pattern);
            let names = trigger.pattern.split('/').count();
            assert!(names <= 2, "{}", trigger.pattern);
        }
    }
}
