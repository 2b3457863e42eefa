use super::{SHELLS, Spec, Values};

const HEAD: &str = r#"# bash completion for sbox, written by the test 'manual' from --help. Load it with: eval "$(sbox completion bash)"

# Adds the WORDs that begin as the word on the line does.
_sbox_words() {
    local one
    for one; do
        [[ $one == "$word"* ]] && COMPREPLY+=("$one")
    done
}

# Adds the names that a command of sbox prints. Names with other letters would have to be quoted, and are left out.
_sbox_names() {
    local one
    while IFS= read -r one; do
        [[ $one =~ ^[A-Za-z0-9._-]+$ && $one == "$word"* ]] && COMPREPLY+=("$one")
    done < <("${sbox[@]}" "$@" 2>/dev/null)
}

_sbox_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$1" -- "$word")
}

"#;

const TAIL: &str = r#"
_sbox() {
    local line=${COMP_LINE:0:COMP_POINT} word="" cmd="" sub="" before="" one
    local -a words sbox=(sbox)
    COMPREPLY=()
    # Split at blanks: to bash, python:3.11 is three words.
    read -ra words <<<"$line"
    if [[ ${#words[@]} == 0 || $line == *[[:blank:]] ]]; then
        words+=("")
    fi
    word=${words[-1]}
    one=${words[0]##*/}
    if [[ $one == sbox-* ]]; then
        cmd=${one#sbox-}
    fi
    for one in "${words[@]:1:${#words[@]}-2}"; do
        if [[ -n $before ]]; then
            if [[ $before == -C && -z $cmd ]]; then
                sbox=(sbox -C "$one")
            fi
            before=""
        elif [[ $one == -* && -z $sub ]]; then
            if [[ $one == -C && -z $cmd ]] || _sbox_takes "$cmd" "$one"; then
                before=$one
            fi
        elif [[ -z $cmd ]]; then
            cmd=$one
        elif [[ -z $sub ]]; then
            sub=$one
        elif [[ $one == -* ]] && _sbox_takes "$cmd" "$one"; then
            before=$one
        fi
    done
    if [[ $word == --*=* ]]; then
        before=${word%%=*}
        word=${word#*=}
    fi
    if [[ $before == -C && -z $cmd ]]; then
        _sbox_files -d
    elif [[ -n $before ]]; then
        _sbox_value "$cmd $before"
    elif [[ -z $cmd && $word == -* ]]; then
        _sbox_words -C --exec-path --list-cmds -h --help -V --version
    elif [[ -z $cmd ]]; then
        _sbox_names --list-cmds
    elif [[ $word == -* && ! (-n $sub && $cmd =~ ^(RUNNERS)$) ]]; then
        # shellcheck disable=SC2046
        _sbox_words $(_sbox_options "$cmd")
    else
        _sbox_positional "$cmd $sub"
    fi
    # What stands before a colon is a word of its own to readline.
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*:}"}"}")
    fi
}

"#;

fn action(values: &Values) -> String {
    match values {
        Values::Words(words) => format!("_sbox_words {}", words.join(" ")),
        Values::Files => "_sbox_files -f".into(),
        Values::Directories => "_sbox_files -d".into(),
        Values::Programs => "_sbox_files -c".into(),
        Values::Daemons => "_sbox_names ps --names".into(),
        Values::AllDaemons => "_sbox_names ps --all --names".into(),
        Values::Logs => "_sbox_words build; _sbox_names ps --all --names".into(),
        Values::CacheEntries => "_sbox_names cache list --quiet".into(),
        Values::Templates => "_sbox_names init --list-templates --quiet".into(),
    }
}

fn actions(values: &[Values]) -> String {
    values.iter().map(action).collect::<Vec<_>>().join("; ")
}

/// A function with a `case` of its first argument.
fn function(name: &str, why: &str, head: &str, lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("        {line}\n")).collect();
    format!("# {why}\n{name}() {{\n    case {head} in\n{lines}    esac\n}}\n\n")
}

pub fn write(specs: &[Spec]) -> String {
    let (mut options, mut takes, mut values, mut positional) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for spec in specs {
        let name = spec.name;
        let all: Vec<&str> =
            spec.options.iter().flat_map(|one| [&one.short, &one.long]).flatten().map(String::as_str).collect();
        options.push(format!("{name}) echo \"{}\" ;;", all.join(" ")));
        for option in spec.options.iter().filter(|option| option.value.is_some()) {
            let names: Vec<&String> = [&option.short, &option.long].into_iter().flatten().collect();
            let pattern = names.iter().map(|one| format!("'{name} {one}'")).collect::<Vec<_>>().join(" | ");
            takes.push(format!("{pattern}) return 0 ;;"));
            if let Some(found) = spec.values(option) {
                values.push(format!("{pattern}) {} ;;", action(&found)));
            }
        }
        if !spec.subcommands.is_empty() {
            let names: Vec<&str> = spec.subcommands.iter().map(|(name, _)| name.as_str()).collect();
            positional.push(format!("'{name} ') _sbox_words {} ;;", names.join(" ")));
            for (sub, after) in spec.subcommands.iter().filter(|(_, after)| !after.is_empty()) {
                positional.push(format!("'{name} {sub}') {} ;;", actions(after)));
            }
        } else if spec.positional.contains(&Values::Programs) {
            positional.push(format!("'{name} ') {} ;;", actions(&spec.positional)));
            positional.push(format!("'{name} '*) _sbox_files -f ;;"));
        } else if !spec.positional.is_empty() {
            positional.push(format!("'{name} '*) {} ;;", actions(&spec.positional)));
        }
    }
    positional.push(
        "'help '*) _sbox_words config agents extensions isolation plumbing --install; _sbox_names --list-cmds=all ;;"
            .into(),
    );
    positional.push(format!("'completion '*) _sbox_words {} ;;", SHELLS.join(" ")));
    takes.push("*) return 1 ;;".into());
    let mut out = HEAD.to_owned();
    out += &function("_sbox_options", "Prints the options of a command.", "$1", &options);
    out += &function("_sbox_takes", "Whether an option of a command takes a value.", "\"$1 $2\"", &takes);
    out += &function("_sbox_value", "Completes the value of an option: \"COMMAND OPTION\".", "$1", &values);
    out += &function("_sbox_positional", "Completes what is not an option: \"COMMAND SUBCOMMAND\".", "$1", &positional);
    out.truncate(out.trim_end().len());
    out += "\n";
    let runners: Vec<&str> =
        specs.iter().filter(|spec| spec.positional.contains(&Values::Programs)).map(|spec| spec.name).collect();
    out += &TAIL.replace("RUNNERS", &runners.join("|"));
    let programs: Vec<String> = specs.iter().map(|spec| format!("sbox-{}", spec.name)).collect();
    out + &format!("complete -F _sbox sbox {}\n", programs.join(" "))
}
