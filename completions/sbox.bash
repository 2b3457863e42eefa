# bash completion for sbox. Load it with: eval "$(sbox completion bash)"

_sbox_options() {
    case $1 in
        build) echo "--locked --update --offline -f --force -v --verbose -n --check -h --help -V --version" ;;
        cache) echo "-a --all --older-than -n --dry-run -j --json -h --help -V --version" ;;
        clean) echo "-a --all --logs -h --help -V --version" ;;
        demo) echo "-r --runtime -k --keep -h --help -V --version" ;;
        doctor) echo "--self-test --isolation --apparmor-profile -j --json -h --help -V --version" ;;
        exec) echo "--in --isolation -h --help -V --version" ;;
        info) echo "-j --json -h --help -V --version" ;;
        init) echo "-r --runtime -f --force -h --help -V --version" ;;
        logs) echo "-f --follow -n --lines --since --network --list -j --json -h --help -V --version" ;;
        pack) echo "-o --output --exclude-env --include-cache --format --base --level -f --force -h --help -V --version" ;;
        ps) echo "-a --all -g --global -q --quiet -j --json -h --help -V --version" ;;
        restart) echo "-h --help -V --version" ;;
        run) echo "-d --detach -n --name --wait --isolation -h --help -V --version" ;;
        shell) echo "--isolation -h --help -V --version" ;;
        status) echo "-j --json -h --help -V --version" ;;
        stop) echo "-a --all -h --help -V --version" ;;
        trust) echo "-l --list -r --revoke -j --json -h --help -V --version" ;;
        unpack) echo "-n --dry-run -v --verbose --verify -h --help -V --version" ;;
        validate) echo "-q --quiet -j --json -h --help -V --version" ;;
        version) echo "-h --help -V --version" ;;
        archive) echo "-o --output --name --flat --owner --digests --format --level --sums --prefix --sites --time -C --directory --max-size --max-entries -j --json -h --help -V --version" ;;
        attempt) echo "-c --class --fixture -l --list -h --help -V --version" ;;
        envsh) echo "--format --isolation -q --quiet -h --help -V --version" ;;
        fetch-mamba) echo "--url --sha256 --platform --on-path --offline --connect-timeout --idle-timeout --retries --print-url -h --help -V --version" ;;
        forward) echo "--user --network -h --help -V --version" ;;
        mkenv) echo "--provider --channel --package --lock --locked --update --offline --into -h --help -V --version" ;;
        mkenv-conda) echo "--resolve --channel --package --lock --offline -h --help -V --version" ;;
        mkenv-host) echo "--resolve -h --help -V --version" ;;
        mkenv-npm) echo "--resolve -h --help -V --version" ;;
        proxy) echo "--listen --receive --allow --deny --access-log -h --help -V --version" ;;
        relocate) echo "-n --dry-run -0 --null --from --to --only --slots -h --help -V --version" ;;
        spawn) echo "--root --bind --ro-bind --tmpfs --hide --bind-nofollow --chdir --env --setenv --env-fd --limit --stop-timeout --hostname --network --allow --deny --access-log --port --isolation --nested --status-fd --join -n --dry-run --probe -h --help -V --version" ;;
        stage) echo "-n --dry-run -f --force --into --record -h --help -V --version" ;;
        supervise) echo "--project --name --isolation --restart --max-restarts --stop-timeout --log-size --log-keep -h --help -V --version" ;;
    esac
}

_sbox_values() {
    case $1 in
        --restart) echo "no on-failure always" ;;
        --runtime | -r) echo "python:3.11 python:3.12 python:3.13 node:20 node:22 node:24" ;;
        --isolation) echo "auto namespace landlock env" ;;
        --network) echo "host none proxy" ;;
        --class) echo "files writes processes privilege ipc environment network kernel" ;;
        --format) echo "sh json null" ;;
        --provider) echo "auto conda host npm" ;;
        --platform) echo "linux-64 linux-aarch64 osx-64 osx-arm64" ;;
    esac
}

_sbox() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb="" at=1 values
    COMPREPLY=()
    if [[ ${COMP_WORDS[0]##*/} == sbox-* ]]; then
        verb=${COMP_WORDS[0]##*/sbox-}
        verb=${verb#sbox-}
    else
        while ((at < COMP_CWORD)); do
            case ${COMP_WORDS[at]} in
                -C) ((at += 2)) ;;
                -*) ((at++)) ;;
                *)
                    verb=${COMP_WORDS[at]}
                    break
                    ;;
            esac
        done
    fi
    if [[ -z $verb ]]; then
        case $before in
            -C) mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
            *) mapfile -t COMPREPLY < <(compgen -W "$(sbox --list-cmds 2>/dev/null) -C --exec-path --list-cmds --help --version" -- "$word") ;;
        esac
        return
    fi
    case $verb in
        help)
            mapfile -t COMPREPLY < <(compgen -W "$(sbox --list-cmds 2>/dev/null) config plumbing --install" -- "$word")
            return
            ;;
        completion)
            mapfile -t COMPREPLY < <(compgen -W "bash zsh fish" -- "$word")
            return
            ;;
    esac
    values=$(_sbox_values "$before")
    if [[ -n $values ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word")
    elif [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_sbox_options "$verb")" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
    # A value such as python:3.11 is one word to us and three to readline.
    if declare -F __ltrim_colon_completions >/dev/null; then
        __ltrim_colon_completions "$word"
    fi
}

complete -F _sbox sbox
complete -F _sbox sbox-build sbox-cache sbox-clean sbox-demo sbox-doctor sbox-exec sbox-info sbox-init sbox-logs sbox-pack sbox-ps sbox-restart sbox-run sbox-shell sbox-status sbox-stop sbox-trust sbox-unpack sbox-validate sbox-version sbox-archive sbox-attempt sbox-envsh sbox-fetch-mamba sbox-forward sbox-mkenv sbox-mkenv-conda sbox-mkenv-host sbox-mkenv-npm sbox-proxy sbox-relocate sbox-spawn sbox-stage sbox-supervise
