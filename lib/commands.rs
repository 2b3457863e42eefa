//! The table of commands: one line for each program that is started as `sbox NAME`.
//!
//! `sbox --help`, the manual pages that are compiled in, the lists in sbox(1), sbox-plumbing(7) and the README, and the
//! completions follow from it. It is a macro, so that a program can make something of each line when it is compiled.

/// Gives the whole table to the macro `$make`, as lines of `NAME Group "what it does";`.
#[macro_export]
macro_rules! commands {
    ($make:ident) => {
        $make! {
            "init" Start "make a project";
            "build" Start "build its sandbox";
            "add" Start "install packages, and write them into the configuration";
            "edit" Start "edit the configuration, and check it";
            "validate" Start "check its configuration";
            "clean" Start "remove what was built";

            "run" Run "run the project's command, or another one";
            "exec" Run "execute a program with its arguments as they are";
            "shell" Run "start a shell in the sandbox";
            "ask" Run "answer what runs with --ask want of the network";
            "mcp" Run "serve the sandbox to an MCP client, as tools";
            "refresh" Run "show what you changed on the host inside, at once";

            "ps" KeepRunning "list the daemons that 'sbox run -d' started";
            "top" KeepRunning "show what all sandboxes use, now";
            "logs" KeepRunning "print what a daemon printed";
            "stop" KeepRunning "stop daemons";
            "restart" KeepRunning "stop a daemon and start it again";
            "wait" KeepRunning "wait until daemons have ended";
            "rm" KeepRunning "forget daemons that have ended, with their logs";

            "status" Look "show the project, its build, daemons and logs";
            "report" Look "say what runs asked for, were refused and changed";
            "info" Look "show paths, sizes, the runtime and the environment";
            "why" Look "say why a path, host or program is there, or not";
            "version" Look "print the version";

            "diff" Changes "show what the agent changed in copy-on-write mounts";
            "apply" Changes "bring its changes to the host, file by file";
            "discard" Changes "forget its changes";

            "cp" Carry "copy files into the sandbox, or out of it";
            "pack" Carry "write the built sandbox into one file";
            "unpack" Carry "make an extracted sandbox work where it is now";
            "cache" Carry "list, check and remove cached runtimes";

            "trust" Trust "accept what a configuration from elsewhere asks for";
            "doctor" Trust "check what this host supports, and attack a sandbox";
            "demo" Trust "watch a curious agent fail";

            "spawn" Plumbing "run one command confined; needs no project";
            "supervise" Plumbing "run a daemon: its sandbox, log, record and restarts";
            "proxy" Plumbing "let HTTP and HTTPS through to allowed names";
            "secrets" Plumbing "hold keys that a sandbox uses and never sees";
            "learn" Plumbing "write down which paths a sandbox looks up";
            "forward" Plumbing "forward ports of the host's loopback into a sandbox";
            "attempt" Plumbing "try what a sandbox must refuse";
            "envsh" Plumbing "print the environment of a project's programs";
            "stage" Plumbing "put files into the root of a sandbox, incrementally";
            "mkenv" Plumbing "make a runtime, through a provider and the cache";
            "mkenv-conda" Plumbing "provider: conda packages, through micromamba";
            "mkenv-npm" Plumbing "provider: Node.js, through the host's npm client";
            "mkenv-host" Plumbing "provider: a private copy of a host interpreter";
            "fetch-mamba" Plumbing "find micromamba, or download it";
            "relocate" Plumbing "rewrite the prefix in the files of an environment";
            "archive" Plumbing "write, list, verify and extract packed sandboxes";
        }
    };
}

/// What a command is for. Everything but plumbing is porcelain: for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Making a project and its sandbox.
    Start,
    /// Running something in the foreground.
    Run,
    /// Daemons.
    KeepRunning,
    /// Looking at a project.
    Look,
    /// Taking over, or not, what the agent changed.
    Changes,
    /// Moving sandboxes and runtimes between projects and machines.
    Carry,
    /// Deciding what to rely on.
    Trust,
    /// Programs for programs, which porcelain is made of.
    Plumbing,
}

impl Group {
    /// The groups of porcelain, in the order of `sbox --help`, each with its heading there.
    pub const PORCELAIN: &[(Group, &str)] = &[
        (Group::Start, "Start a project"),
        (Group::Run, "Run in its sandbox"),
        (Group::KeepRunning, "Keep it running"),
        (Group::Look, "Look at it"),
        (Group::Changes, "Take over its changes"),
        (Group::Carry, "Carry it elsewhere"),
        (Group::Trust, "Trust it"),
    ];
}

/// One line of the table.
#[derive(Debug)]
pub struct Command {
    /// `build`; its program is `sbox-build`.
    pub name: &'static str,
    /// What it is for.
    pub group: Group,
    /// What it does, in a few words.
    pub line: &'static str,
}

macro_rules! table {
    ($($name:literal $group:ident $line:literal;)*) => {
        &[$(Command { name: $name, group: Group::$group, line: $line }),*]
    };
}

/// Every command, grouped, in the order in which people meet them.
pub const COMMANDS: &[Command] = commands!(table);

macro_rules! group_of {
    ($($name:literal $group:ident $line:literal;)*) => {
        /// The group of a program, `sbox-build`. A match and not a search, so that a program that asks does not carry
        /// the texts of the table.
        pub fn group(program: &str) -> Option<Group> {
            match program.strip_prefix("sbox-")? {
                $($name => Some(Group::$group),)*
                _ => None,
            }
        }
    };
}

commands!(group_of);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_the_terminal_and_names_each_command_once() {
        for (at, command) in COMMANDS.iter().enumerate() {
            assert!(command.name.len() <= 12 && command.line.len() <= 60, "{}", command.name);
            assert!(COMMANDS[..at].iter().all(|other| other.name != command.name), "{} is there twice", command.name);
            let group = command.group;
            assert!(group == Group::Plumbing || Group::PORCELAIN.iter().any(|(one, _)| *one == group), "{group:?}");
        }
    }

    #[test]
    fn a_program_is_known_by_its_full_name() {
        assert_eq!(group("sbox-stage"), Some(Group::Plumbing));
        assert_eq!(group("sbox-run"), Some(Group::Run));
        assert_eq!((group("sbox"), group("run"), group("sbox-forwarding")), (None, None, None));
    }
}
