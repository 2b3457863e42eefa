use super::{SHELLS, Spec, Values};
use crate::manual::help::HelpOption;

const NAMES: &str = r#"# The names that a command of sbox prints.
_sbox_names() {
    local -a names where
    [[ -n ${opt_args[-C]} ]] && where=(-C ${opt_args[-C]})
    names=(${(f)"$(command sbox $where "$@" 2>/dev/null)"})
    compadd -a names
}

_sbox_daemons() { _sbox_names ps --names }
_sbox_all_daemons() { _sbox_names ps --all --names }
_sbox_logs() { compadd build; _sbox_names ps --all --names }
_sbox_cache_entries() { _sbox_names cache list --quiet }
_sbox_templates() { _sbox_names init --list-templates --quiet }

"#;

const TAIL: &str = r#"
_sbox() {
    local curcontext=$curcontext state line ret=1
    typeset -A opt_args
    if [[ $service == sbox-* ]]; then
        _sbox_command ${service#sbox-}
        return
    fi
    _arguments -C -S \
        '-C[work as if started in a directory]:directory:_files -/' \
        '(- *)--exec-path[print the directory of the programs]' \
        '(- *)--list-cmds[print every command]' \
        '(- *)'{-h,--help}'[print the usage]' \
        '(- *)'{-V,--version}'[print the version]' \
        '1: :->command' \
        '*:: :->rest' && ret=0
    case $state in
        command) _sbox_commands && ret=0 ;;
        rest)
            curcontext=${curcontext%:*:*}:sbox-$words[1]:
            _sbox_command $words[1] && ret=0
            ;;
    esac
    return ret
}

# As a file of $fpath it is called to complete; sourced, it registers itself.
if [[ $funcstack[1] == _sbox ]]; then
    _sbox "$@"
else
    compdef _sbox PROGRAMS
fi
"#;

/// Inside single quotes.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

/// Inside the brackets of an option of `_arguments`.
fn explained(text: &str) -> String {
    quoted(&text.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]").replace(':', "\\:"))
}

fn action(values: &Values) -> String {
    match values {
        Values::Words(words) => format!("({})", words.join(" ").replace(':', "\\:")),
        Values::Files => "_files".into(),
        Values::Directories => "_files -/".into(),
        Values::Programs => "_command_names -e".into(),
        Values::Daemons => "_sbox_daemons".into(),
        Values::AllDaemons => "_sbox_all_daemons".into(),
        Values::Logs => "_sbox_logs".into(),
        Values::CacheEntries => "_sbox_cache_entries".into(),
        Values::Templates => "_sbox_templates".into(),
    }
}

fn option(spec: &Spec, option: &HelpOption) -> String {
    let text = explained(&option.text);
    let mut value = String::new();
    if let Some(placeholders) = &option.value {
        let what = spec.values(option).map(|values| action(&values)).unwrap_or_default();
        value = placeholders
            .split(' ')
            .map(|one| format!(":{}:{}", one.to_lowercase().replace(':', "\\:").replace(['[', ']'], ""), what))
            .collect();
    }
    let value = quoted(&value);
    let repeats = option.text.contains("can be repeated") || spec.name == "spawn" && option.value.is_some();
    match (&option.short, &option.long) {
        (Some(short), Some(long)) => format!("'({short} {long})'{{{short},{long}}}'[{text}]{value}'"),
        (one, other) => {
            let name = one.as_ref().or(other.as_ref()).unwrap();
            format!("'{}{name}[{text}]{value}'", if repeats { "*" } else { "" })
        }
    }
}

fn rest(values: &[Values]) -> Option<String> {
    let [first, ..] = values else { return None };
    Some(match first {
        Values::Programs => "'*::command:_normal'".into(),
        _ => {
            let words: Vec<String> = values.iter().map(action).collect();
            match words.as_slice() {
                [one] => format!("'*:argument:{}'", quoted(one)),
                several => format!(
                    "'*:argument:_alternative {}'",
                    several.iter().map(|one| format!("\"argument\\:argument\\:{one}\"")).collect::<Vec<_>>().join(" ")
                ),
            }
        }
    })
}

pub fn write(specs: &[Spec]) -> String {
    let programs: Vec<String> = specs.iter().map(|spec| format!("sbox-{}", spec.name)).collect();
    let programs = format!("sbox {}", programs.join(" "));
    let mut out = format!(
        "#compdef {programs}\n# zsh completion for sbox, written by the test 'manual' from --help. Put it into a directory of $fpath:\n\
         # sbox completion zsh > ~/.zfunc/_sbox. Or load it after compinit: eval \"$(sbox completion zsh)\"\n\n{NAMES}"
    );
    out += "_sbox_commands() {\n    local -a commands names extensions\n    commands=(\n";
    for spec in specs.iter().filter(|spec| spec.porcelain) {
        out += &format!("        '{}:{}'\n", spec.name, quoted(spec.line));
    }
    out += "        'help:show a manual page'\n        'completion:print completions for a shell'\n    )\n";
    out += "    extensions=(${(f)\"$(command sbox --list-cmds 2>/dev/null)\"})\n";
    out += "    names=(${commands%%:*})\n    extensions=(${extensions:|names})\n";
    out += "    _describe -t commands command commands\n    compadd -a extensions\n}\n\n";
    out += "_sbox_topics() {\n    compadd config agents extensions isolation plumbing ${(f)\"$(command sbox --list-cmds=all 2>/dev/null)\"}\n    _sbox_commands\n}\n\n";
    out += "_sbox_command() {\n    case $1 in\n";
    for spec in specs {
        let mut lines: Vec<String> = spec.options.iter().map(|one| option(spec, one)).collect();
        if !spec.subcommands.is_empty() {
            let names: Vec<&str> = spec.subcommands.iter().map(|(name, _)| name.as_str()).collect();
            lines.push(format!("'1:subcommand:({})'", names.join(" ")));
            let mut after: Vec<Values> = spec.subcommands.iter().flat_map(|(_, after)| after.clone()).collect();
            after.dedup();
            lines.extend(rest(&after));
        } else {
            lines.extend(rest(&spec.positional));
        }
        out += &format!(
            "        {})\n            _arguments -s -S \\\n                {}\n            ;;\n",
            spec.name,
            lines.join(" \\\n                ")
        );
    }
    out += "        help) _arguments '--install[write all pages below a directory]:directory:_files -/' '1: :_sbox_topics' ;;\n";
    out += &format!("        completion) _arguments '1:shell:({})' ;;\n", SHELLS.join(" "));
    out += "        *) _normal ;;\n    esac\n}\n";
    out + &TAIL.replace("PROGRAMS", &programs)
}
