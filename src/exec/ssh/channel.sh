# Prologue of a channel's remote shell. Sent to its standard input, followed by calls of hello, enter
# and step. POSIX, with tools that every system has.

unset CDPATH
LC_ALL=C
export LC_ALL
home=$(pwd -P)
token=
ready=
trap 'exit 1' 1 2 15
trap 'rm -f -- "$token"' 0

# hello NUMBER NUMBER [TOKEN]: deletes the token of another shell, so that it does nothing more, and
# prints our own, after a sum that no echo of these lines can contain.
hello() {
    [ -z "$3" ] || rm -f -- "$3" || exit 3
    token=$(mktemp "${TMPDIR:-/tmp}/lsyncd.XXXXXXXXXX") || exit 3
    printf '\nlsyncd %s %s\n' "$(($1 + $2))" "$token"
}

# enter NUMBER DIRECTORY: sets the base of the paths of the next steps.
enter() {
    ready=
    s=1
    cd -- "$home" && cd -- "$2" && ready=1 s=0
    printf '%s %s 0\n' "$1" "$s"
} 2>/dev/null

# above PATH [make]: succeeds if no directory above PATH is a link. Creates missing directories if
# asked to; $made is the depth of the first of them.
above() {
    rest=$1
    dir=.
    depth=0
    while :; do
        case $rest in
        */*) ;;
        *) return 0 ;;
        esac
        dir=$dir/${rest%%/*}
        rest=${rest#*/}
        depth=$((depth + 1))
        [ -L "$dir" ] && return 1
        [ -d "$dir" ] && continue
        [ -n "$2" ] && mkdir -m 700 -- "$dir" || return 1
        [ "$made" -gt 0 ] || made=$depth
    done
}

is_there() {
    [ -e "$1" ] || [ -L "$1" ]
}

is_directory() {
    [ -d "$1" ] && ! [ -L "$1" ]
}

# mv moves into an existing directory: so the destination must not be one.
move() {
    above "$1" && is_there "./$1" || return 1
    case $3 in
    directory) is_directory "./$1" && ! is_there "./$2" ;;
    *) ! is_directory "./$1" && ! [ -d "./$2" ] ;;
    esac && above "$2" make && mv -f -- "./$1" "./$2"
}

swap() {
    other=./.lsyncd-swap.$$
    above "$1" && above "$2" && is_there "./$1" && is_there "./$2" && ! is_there "$other" &&
        mv -f -- "./$1" "$other" || return 1
    if mv -f -- "./$2" "./$1"; then
        mv -f -- "$other" "./$2" && return 0
        mv -f -- "./$1" "./$2"
    fi
    mv -f -- "$other" "./$1"
    return 1
}

# step NUMBER KIND FROM TO: replies with NUMBER, 0 if the rename was made, and the depth of the first
# directory that was created. 9: our token was deleted.
step() {
    made=0
    s=1
    if ! [ -e "$token" ]; then
        s=9
    elif [ -n "$ready" ]; then
        case $2 in
        swap) swap "$3" "$4" && s=0 ;;
        *) move "$3" "$4" "$2" && s=0 ;;
        esac
    fi
    printf '%s %s %s\n' "$1" "$s" "$made"
} 2>/dev/null </dev/null
