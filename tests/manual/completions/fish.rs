use super::{SHELLS, Spec, Values};

const HEAD: &str = r#"# fish completion for sbox, written by the test 'manual' from --help. Load it with: sbox completion fish | source

# Prints the words of the line from the command on; fails before there is one.
function __sbox_words
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case -C
                set -e words[1..2]
            case '-*'
                set -e words[1]
            case '*'
                string join \n -- $words
                return 0
        end
    end
    return 1
end

# Whether the command is one of these.
function __sbox_is
    set -l words (__sbox_words)
    and contains -- $words[1] $argv
end

# Whether the command is the first of these and its subcommand one of the others; without others, there is none yet.
function __sbox_sub
    set -l words (__sbox_words | string match -v -- '-*')
    and test "$words[1]" = "$argv[1]"
    or return 1
    if set -q argv[2]
        set -q words[2]; and contains -- $words[2] $argv[2..-1]
    else
        not set -q words[2]
    end
end

# What a command of sbox prints, in the directory that -C names.
function __sbox_names
    set -l words (commandline -opc)
    if test "$words[2]" = -C
        sbox -C $words[3] $argv 2>/dev/null
    else
        sbox $argv 2>/dev/null
    end
end

complete -c sbox -f
complete -c sbox -n 'not __sbox_words' -s C -x -a '(__fish_complete_directories)' -d 'work as if started in a directory'
complete -c sbox -n 'not __sbox_words' -l exec-path -d 'print the directory of the programs'
complete -c sbox -n 'not __sbox_words' -l list-cmds -d 'print every command'
complete -c sbox -n 'not __sbox_words' -s h -l help -d 'print the usage'
complete -c sbox -n 'not __sbox_words' -s V -l version -d 'print the version'
complete -c sbox -n 'not __sbox_words' -a '(sbox --list-cmds 2>/dev/null)'
complete -c sbox -n 'not __sbox_words' -a help -d 'show a manual page'
complete -c sbox -n 'not __sbox_words' -a completion -d 'print completions for a shell'
complete -c sbox -n '__sbox_is help' -a '(sbox --list-cmds=all 2>/dev/null) config agents extensions isolation plumbing'
complete -c sbox -n '__sbox_is help' -l install -x -a '(__fish_complete_directories)' -d 'write all pages below a directory'
"#;

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The options of `complete` that offer these values.
fn action(values: &Values) -> String {
    match values {
        Values::Words(words) => format!("-x -a {}", quoted(&words.join(" "))),
        Values::Files => "-r -F".into(),
        Values::Directories => "-x -a '(__fish_complete_directories)'".into(),
        Values::Programs => "-x -a '(__fish_complete_subcommand)'".into(),
        Values::Daemons => "-x -a '(__sbox_names ps --names)'".into(),
        Values::AllDaemons => "-x -a '(__sbox_names ps --all --names)'".into(),
        Values::Logs => "-x -a '(echo build; __sbox_names ps --all --names)'".into(),
        Values::CacheEntries => "-x -a '(__sbox_names cache list --quiet)'".into(),
        Values::Templates => "-x -a '(__sbox_names init --list-templates --quiet)'".into(),
    }
}

/// The same for what is not the value of an option.
fn argument(values: &Values) -> String {
    action(values).replace("-x ", "-f ").replace("-r -F", "-F")
}

pub fn write(specs: &[Spec]) -> String {
    let mut out = HEAD.to_owned();
    out += &format!("complete -c sbox -n '__sbox_is completion' -a '{}'\n", SHELLS.join(" "));
    for spec in specs {
        let name = spec.name;
        let mut line = |condition: &str, rest: &str| {
            out += &format!("complete -c sbox -n {} {rest}\n", quoted(condition));
        };
        if spec.porcelain {
            line("not __sbox_words", &format!("-a {name} -d {}", quoted(spec.line)));
        }
        for option in &spec.options {
            let mut rest = String::new();
            if let Some(short) = &option.short {
                rest += &format!("-s {} ", short.trim_start_matches('-'));
            }
            if let Some(long) = &option.long {
                rest += &format!("-l {} ", long.trim_start_matches('-'));
            }
            if option.value.is_some() {
                rest += &spec.values(option).map_or_else(|| "-x".into(), |values| action(&values));
                rest.push(' ');
            }
            line(&format!("__sbox_is {name}"), &format!("{rest}-d {}", quoted(&option.text)));
        }
        for values in &spec.positional {
            line(&format!("__sbox_is {name}"), &argument(values));
        }
        if !spec.subcommands.is_empty() {
            let names: Vec<&str> = spec.subcommands.iter().map(|(name, _)| name.as_str()).collect();
            line(&format!("__sbox_sub {name}"), &format!("-a '{}'", names.join(" ")));
        }
        for (sub, after) in &spec.subcommands {
            for values in after {
                line(&format!("__sbox_sub {name} {sub}"), &argument(values));
            }
        }
        out += &format!("complete -c sbox-{name} -w 'sbox {name}'\n");
    }
    out
}
