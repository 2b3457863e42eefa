# bash completion for sbox, written by the test 'manual' from --help. Load it with: eval "$(sbox completion bash)"

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

# Prints the options of a command.
_sbox_options() {
    case $1 in
        init) echo "-r --runtime -t --template --list-templates -q --quiet -f --force --copy -h --help -V --version" ;;
        build) echo "--locked --update --offline --config -f --force -v --verbose -n --check -h --help -V --version" ;;
        add) echo "-g --global -n --dry-run -v --verbose -h --help -V --version" ;;
        edit) echo "-h --help -V --version" ;;
        validate) echo "-q --quiet -j --json -h --help -V --version" ;;
        clean) echo "--home --logs -a --all -h --help -V --version" ;;
        run) echo "--runtime --keep -d --detach -n --name --wait --learn --write --env --env-file --mount --network --reach --port --limit --workdir --isolation --ask --nested -h --help -V --version" ;;
        exec) echo "--in --env --env-file --mount --network --reach --port --limit --workdir --isolation --ask --nested -h --help -V --version" ;;
        shell) echo "--env --env-file --mount --network --reach --port --limit --workdir --isolation --ask --nested -h --help -V --version" ;;
        ask) echo "--serve -h --help -V --version" ;;
        mcp) echo "--in --allow-apply --timeout -h --help -V --version" ;;
        refresh) echo "-h --help -V --version" ;;
        ps) echo "-a --all -g --global -q --quiet --names -j --json -h --help -V --version" ;;
        top) echo "-n --count -i --interval -j --json -h --help -V --version" ;;
        logs) echo "-f --follow -n --lines --since -t --timestamps --network --list -j --json -h --help -V --version" ;;
        stop) echo "-a --all -g --global -t --timeout -h --help -V --version" ;;
        restart) echo "-h --help -V --version" ;;
        wait) echo "-t --timeout -j --json -h --help -V --version" ;;
        rm) echo "-f --force -a --all -h --help -V --version" ;;
        status) echo "-j --json -h --help -V --version" ;;
        report) echo "--last --since --list --verify -j --json -h --help -V --version" ;;
        info) echo "-j --json -h --help -V --version" ;;
        why) echo "--as --in --no-host -j --json -h --help -V --version" ;;
        version) echo "-h --help -V --version" ;;
        diff) echo "--stat --name-only -j --json --ignored --no-pager --for-reading --digests -h --help -V --version" ;;
        apply) echo "-n --dry-run -i --interactive --ignored --partial --digest --expect --commits -h --help -V --version" ;;
        discard) echo "-n --dry-run -f --force -h --help -V --version" ;;
        cp) echo "-q --quiet -h --help -V --version" ;;
        pack) echo "-o --output --exclude-env --include-cache --format --base --level -f --force -h --help -V --version" ;;
        unpack) echo "-n --dry-run -v --verbose --json --verify -h --help -V --version" ;;
        cache) echo "-a --all --older-than -n --dry-run -q --quiet -j --json -h --help -V --version" ;;
        trust) echo "-l --list -r --revoke -j --json -h --help -V --version" ;;
        doctor) echo "--self-test --isolation --apparmor-profile -j --json -h --help -V --version" ;;
        demo) echo "-r --runtime -k --keep -h --help -V --version" ;;
        spawn) echo "--root --bind --ro-bind --cow --tmpfs --dev-bind --unguarded --symlink --file --hide --bind-nofollow --overlay --chdir --env --setenv --env-fd --limit --stop-timeout --hostname --network --allow --deny --access-log --refusal-log --secrets-fd --port --reach --isolation --learn --any-name --ask --nested --ephemeral --record --record-as --status-fd --join --refresh -n --dry-run --probe -h --help -V --version" ;;
        supervise) echo "--project --name --workdir --env-fd --secrets-fd --isolation --options --restart --max-restarts --stop-timeout --log-size --log-keep -h --help -V --version" ;;
        proxy) echo "--listen --receive --allow --deny --access-log --refusal-log --refused-fd --request-fd --secrets-fd --any --ask-fd -h --help -V --version" ;;
        secrets) echo "--control -h --help -V --version" ;;
        learn) echo "--receive -h --help -V --version" ;;
        forward) echo "--user --network --receive -h --help -V --version" ;;
        attempt) echo "-c --class --fixture -l --list -h --help -V --version" ;;
        envsh) echo "--format --isolation -q --quiet -h --help -V --version" ;;
        stage) echo "-n --dry-run -f --force --into --record --keep-missing --list -j --json -h --help -V --version" ;;
        mkenv) echo "--provider --channel --package --lock --locked --update --offline --into --cache-only -h --help -V --version" ;;
        mkenv-conda) echo "--resolve --channel --package --lock --update --offline -h --help -V --version" ;;
        mkenv-npm) echo "--resolve -h --help -V --version" ;;
        mkenv-host) echo "--resolve -h --help -V --version" ;;
        fetch-mamba) echo "--url --sha256 --platform --on-path --offline --json --connect-timeout --idle-timeout --retries --print-url -h --help -V --version" ;;
        relocate) echo "--from --to --data -n --dry-run -v --verbose -0 --null --json --only --skip --slots --journal -h --help -V --version" ;;
        archive) echo "-o --output --name --flat --owner --digests --format --level --sums --prefix --sites --time --made-time --group-like-owner -C --directory --max-size --max-entries -j --json -h --help -V --version" ;;
    esac
}

# Whether an option of a command takes a value.
_sbox_takes() {
    case "$1 $2" in
        'init -r' | 'init --runtime') return 0 ;;
        'init -t' | 'init --template') return 0 ;;
        'build --config') return 0 ;;
        'run --runtime') return 0 ;;
        'run -n' | 'run --name') return 0 ;;
        'run --env') return 0 ;;
        'run --env-file') return 0 ;;
        'run --mount') return 0 ;;
        'run --network') return 0 ;;
        'run --reach') return 0 ;;
        'run --port') return 0 ;;
        'run --limit') return 0 ;;
        'run --workdir') return 0 ;;
        'run --isolation') return 0 ;;
        'exec --in') return 0 ;;
        'exec --env') return 0 ;;
        'exec --env-file') return 0 ;;
        'exec --mount') return 0 ;;
        'exec --network') return 0 ;;
        'exec --reach') return 0 ;;
        'exec --port') return 0 ;;
        'exec --limit') return 0 ;;
        'exec --workdir') return 0 ;;
        'exec --isolation') return 0 ;;
        'shell --env') return 0 ;;
        'shell --env-file') return 0 ;;
        'shell --mount') return 0 ;;
        'shell --network') return 0 ;;
        'shell --reach') return 0 ;;
        'shell --port') return 0 ;;
        'shell --limit') return 0 ;;
        'shell --workdir') return 0 ;;
        'shell --isolation') return 0 ;;
        'ask --serve') return 0 ;;
        'mcp --in') return 0 ;;
        'mcp --timeout') return 0 ;;
        'top -n' | 'top --count') return 0 ;;
        'top -i' | 'top --interval') return 0 ;;
        'logs -n' | 'logs --lines') return 0 ;;
        'logs --since') return 0 ;;
        'stop -t' | 'stop --timeout') return 0 ;;
        'wait -t' | 'wait --timeout') return 0 ;;
        'report --since') return 0 ;;
        'why --as') return 0 ;;
        'why --in') return 0 ;;
        'diff --digests') return 0 ;;
        'apply --expect') return 0 ;;
        'pack -o' | 'pack --output') return 0 ;;
        'pack --format') return 0 ;;
        'pack --base') return 0 ;;
        'pack --level') return 0 ;;
        'cache --older-than') return 0 ;;
        'doctor --isolation') return 0 ;;
        'demo -r' | 'demo --runtime') return 0 ;;
        'spawn --root') return 0 ;;
        'spawn --bind') return 0 ;;
        'spawn --ro-bind') return 0 ;;
        'spawn --cow') return 0 ;;
        'spawn --tmpfs') return 0 ;;
        'spawn --dev-bind') return 0 ;;
        'spawn --unguarded') return 0 ;;
        'spawn --symlink') return 0 ;;
        'spawn --file') return 0 ;;
        'spawn --hide') return 0 ;;
        'spawn --bind-nofollow') return 0 ;;
        'spawn --overlay') return 0 ;;
        'spawn --chdir') return 0 ;;
        'spawn --env') return 0 ;;
        'spawn --setenv') return 0 ;;
        'spawn --env-fd') return 0 ;;
        'spawn --limit') return 0 ;;
        'spawn --stop-timeout') return 0 ;;
        'spawn --hostname') return 0 ;;
        'spawn --network') return 0 ;;
        'spawn --allow') return 0 ;;
        'spawn --deny') return 0 ;;
        'spawn --access-log') return 0 ;;
        'spawn --refusal-log') return 0 ;;
        'spawn --secrets-fd') return 0 ;;
        'spawn --port') return 0 ;;
        'spawn --reach') return 0 ;;
        'spawn --isolation') return 0 ;;
        'spawn --learn') return 0 ;;
        'spawn --ask') return 0 ;;
        'spawn --ephemeral') return 0 ;;
        'spawn --record') return 0 ;;
        'spawn --record-as') return 0 ;;
        'spawn --status-fd') return 0 ;;
        'spawn --join') return 0 ;;
        'supervise --project') return 0 ;;
        'supervise --name') return 0 ;;
        'supervise --workdir') return 0 ;;
        'supervise --env-fd') return 0 ;;
        'supervise --secrets-fd') return 0 ;;
        'supervise --isolation') return 0 ;;
        'supervise --options') return 0 ;;
        'supervise --restart') return 0 ;;
        'supervise --max-restarts') return 0 ;;
        'supervise --stop-timeout') return 0 ;;
        'supervise --log-size') return 0 ;;
        'supervise --log-keep') return 0 ;;
        'proxy --listen') return 0 ;;
        'proxy --receive') return 0 ;;
        'proxy --allow') return 0 ;;
        'proxy --deny') return 0 ;;
        'proxy --access-log') return 0 ;;
        'proxy --refusal-log') return 0 ;;
        'proxy --refused-fd') return 0 ;;
        'proxy --request-fd') return 0 ;;
        'proxy --secrets-fd') return 0 ;;
        'proxy --ask-fd') return 0 ;;
        'secrets --control') return 0 ;;
        'learn --receive') return 0 ;;
        'forward --user') return 0 ;;
        'forward --network') return 0 ;;
        'forward --receive') return 0 ;;
        'attempt -c' | 'attempt --class') return 0 ;;
        'attempt --fixture') return 0 ;;
        'envsh --format') return 0 ;;
        'envsh --isolation') return 0 ;;
        'stage --into') return 0 ;;
        'stage --record') return 0 ;;
        'mkenv --provider') return 0 ;;
        'mkenv --channel') return 0 ;;
        'mkenv --package') return 0 ;;
        'mkenv --lock') return 0 ;;
        'mkenv --into') return 0 ;;
        'mkenv-conda --channel') return 0 ;;
        'mkenv-conda --package') return 0 ;;
        'mkenv-conda --lock') return 0 ;;
        'fetch-mamba --url') return 0 ;;
        'fetch-mamba --sha256') return 0 ;;
        'fetch-mamba --platform') return 0 ;;
        'fetch-mamba --connect-timeout') return 0 ;;
        'fetch-mamba --idle-timeout') return 0 ;;
        'fetch-mamba --retries') return 0 ;;
        'relocate --from') return 0 ;;
        'relocate --to') return 0 ;;
        'relocate --data') return 0 ;;
        'relocate --only') return 0 ;;
        'relocate --skip') return 0 ;;
        'relocate --slots') return 0 ;;
        'relocate --journal') return 0 ;;
        'archive -o' | 'archive --output') return 0 ;;
        'archive --name') return 0 ;;
        'archive --owner') return 0 ;;
        'archive --format') return 0 ;;
        'archive --level') return 0 ;;
        'archive --sums') return 0 ;;
        'archive --prefix') return 0 ;;
        'archive --sites') return 0 ;;
        'archive --time') return 0 ;;
        'archive --made-time') return 0 ;;
        'archive -C' | 'archive --directory') return 0 ;;
        'archive --max-size') return 0 ;;
        'archive --max-entries') return 0 ;;
        *) return 1 ;;
    esac
}

# Completes the value of an option: "COMMAND OPTION".
_sbox_value() {
    case $1 in
        'init -r' | 'init --runtime') _sbox_words python:3.11 python:3.12 python:3.13 node:20 node:22 node:24 ;;
        'init -t' | 'init --template') _sbox_names init --list-templates --quiet ;;
        'build --config') _sbox_files -f ;;
        'run --runtime') _sbox_words python:3.11 python:3.12 python:3.13 node:20 node:22 node:24 ;;
        'run -n' | 'run --name') _sbox_names ps --all --names ;;
        'run --env-file') _sbox_files -f ;;
        'run --workdir') _sbox_files -d ;;
        'run --isolation') _sbox_words auto namespace landlock env ;;
        'exec --in') _sbox_names ps --names ;;
        'exec --env-file') _sbox_files -f ;;
        'exec --workdir') _sbox_files -d ;;
        'exec --isolation') _sbox_words auto namespace landlock env ;;
        'shell --env-file') _sbox_files -f ;;
        'shell --workdir') _sbox_files -d ;;
        'shell --isolation') _sbox_words auto namespace landlock env ;;
        'why --as') _sbox_words path host program ;;
        'diff --digests') _sbox_files -f ;;
        'pack -o' | 'pack --output') _sbox_files -f ;;
        'pack --format') _sbox_words tar.gz tar.zst oci ;;
        'pack --base') _sbox_files -d ;;
        'doctor --isolation') _sbox_words auto namespace landlock env ;;
        'demo -r' | 'demo --runtime') _sbox_words python:3.11 python:3.12 python:3.13 node:20 node:22 node:24 ;;
        'spawn --root') _sbox_files -d ;;
        'spawn --bind') _sbox_files -f ;;
        'spawn --ro-bind') _sbox_files -f ;;
        'spawn --hide') _sbox_files -f ;;
        'spawn --bind-nofollow') _sbox_files -d ;;
        'spawn --chdir') _sbox_files -d ;;
        'spawn --limit') _sbox_words memory=512M cpus=2 pids=256 open_files=1024 file_size=100M tmp=1G time=30m ;;
        'spawn --network') _sbox_words host none proxy ;;
        'spawn --access-log') _sbox_files -f ;;
        'spawn --refusal-log') _sbox_files -f ;;
        'spawn --isolation') _sbox_words namespace landlock env auto ;;
        'spawn --learn') _sbox_files -f ;;
        'spawn --ephemeral') _sbox_files -d ;;
        'spawn --record') _sbox_files -d ;;
        'supervise --project') _sbox_files -d ;;
        'supervise --workdir') _sbox_files -d ;;
        'supervise --isolation') _sbox_words auto namespace landlock env ;;
        'supervise --restart') _sbox_words no on-failure always ;;
        'proxy --access-log') _sbox_files -f ;;
        'proxy --refusal-log') _sbox_files -f ;;
        'attempt -c' | 'attempt --class') _sbox_words files writes copy-on-write processes privilege ipc environment network kernel ;;
        'envsh --format') _sbox_words sh fish json null ;;
        'envsh --isolation') _sbox_words namespace landlock env none ;;
        'stage --into') _sbox_files -d ;;
        'stage --record') _sbox_files -f ;;
        'mkenv --provider') _sbox_words auto conda npm host ;;
        'mkenv --lock') _sbox_files -f ;;
        'mkenv --into') _sbox_files -d ;;
        'mkenv-conda --lock') _sbox_files -f ;;
        'fetch-mamba --platform') _sbox_words linux-64 linux-aarch64 linux-ppc64le osx-64 osx-arm64 ;;
        'relocate --data') _sbox_files -d ;;
        'relocate --only') _sbox_files -f ;;
        'relocate --skip') _sbox_files -f ;;
        'relocate --slots') _sbox_files -f ;;
        'relocate --journal') _sbox_files -d ;;
        'archive -o' | 'archive --output') _sbox_files -f ;;
        'archive --format') _sbox_words tar.gz tar.zst tar ;;
        'archive --prefix') _sbox_files -f ;;
        'archive -C' | 'archive --directory') _sbox_files -d ;;
    esac
}

# Completes what is not an option: "COMMAND SUBCOMMAND".
_sbox_positional() {
    case $1 in
        'init '*) _sbox_files -d ;;
        'run ') _sbox_files -c ;;
        'run '*) _sbox_files -f ;;
        'exec ') _sbox_files -c ;;
        'exec '*) _sbox_files -f ;;
        'logs '*) _sbox_words build; _sbox_names ps --all --names ;;
        'stop '*) _sbox_names ps --names ;;
        'restart '*) _sbox_names ps --all --names ;;
        'wait '*) _sbox_names ps --names ;;
        'rm '*) _sbox_names ps --all --names ;;
        'why '*) _sbox_files -f ;;
        'diff '*) _sbox_files -f ;;
        'apply '*) _sbox_files -f ;;
        'discard '*) _sbox_files -f ;;
        'cp '*) _sbox_files -f; _sbox_files -d ;;
        'pack '*) _sbox_files -f ;;
        'unpack '*) _sbox_files -d ;;
        'cache ') _sbox_words list info path clean prune verify ;;
        'cache clean') _sbox_names cache list --quiet ;;
        'spawn ') _sbox_files -c ;;
        'spawn '*) _sbox_files -f ;;
        'learn '*) _sbox_files -f ;;
        'mkenv '*) _sbox_words python:3.11 python:3.12 python:3.13 node:20 node:22 node:24; _sbox_files -d ;;
        'mkenv-conda '*) _sbox_words python:3.11 python:3.12 python:3.13 node:20 node:22 node:24; _sbox_files -d ;;
        'mkenv-npm '*) _sbox_words python:3.11 python:3.12 python:3.13 node:20 node:22 node:24; _sbox_files -d ;;
        'mkenv-host '*) _sbox_words python:3.11 python:3.12 python:3.13 node:20 node:22 node:24; _sbox_files -d ;;
        'relocate '*) _sbox_files -d ;;
        'archive ') _sbox_words create list verify extract ;;
        'archive list') _sbox_files -f ;;
        'archive verify') _sbox_files -f; _sbox_files -d ;;
        'archive extract') _sbox_files -f ;;
        'help '*) _sbox_words config agents extensions isolation plumbing --install; _sbox_names --list-cmds=all ;;
        'completion '*) _sbox_words bash zsh fish ;;
    esac
}

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
    elif [[ $word == -* && ! (-n $sub && $cmd =~ ^(run|exec|spawn)$) ]]; then
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

complete -F _sbox sbox sbox-init sbox-build sbox-add sbox-edit sbox-validate sbox-clean sbox-run sbox-exec sbox-shell sbox-ask sbox-mcp sbox-refresh sbox-ps sbox-top sbox-logs sbox-stop sbox-restart sbox-wait sbox-rm sbox-status sbox-report sbox-info sbox-why sbox-version sbox-diff sbox-apply sbox-discard sbox-cp sbox-pack sbox-unpack sbox-cache sbox-trust sbox-doctor sbox-demo sbox-spawn sbox-supervise sbox-proxy sbox-secrets sbox-learn sbox-forward sbox-attempt sbox-envsh sbox-stage sbox-mkenv sbox-mkenv-conda sbox-mkenv-npm sbox-mkenv-host sbox-fetch-mamba sbox-relocate sbox-archive
