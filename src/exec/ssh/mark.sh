# Prologue of a request about the mark of a target: an extended attribute of its directory. Sent to
# the standard input of a shell, followed by one call of read_mark or write_mark. POSIX.

unset CDPATH
LC_ALL=C
export LC_ALL
name=user.lsyncd.mark

# reply STATE [VALUE]: prints the reply, after a sum that no echo of these lines can contain.
reply() {
    printf '\nlsyncd %s %s %s\n' "$sum" "$1" "$2"
    exit 0
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# with_python [VALUE]: gets or sets the attribute. Isolated: no module of this directory is loaded.
with_python() {
    has python3 && python3 -I -S -c '
import errno, os, sys
try:
    if len(sys.argv) > 2:
        os.setxattr(".", sys.argv[1], os.fsencode(sys.argv[2]))
        print("done")
    else:
        print("mark", os.getxattr(".", sys.argv[1]).decode("ascii", "replace"))
except OSError as error:
    if error.errno == errno.ENODATA:
        print("none")
    else:
        print("refused", error.strerror)
' "$name" "$@" 2>/dev/null
}

# unable TEXT: there is no other program. TEXT is what the only one said, if there is one.
unable() {
    if [ -n "$1" ]; then
        printf 'refused %s\n' "$1"
    else
        printf 'tools\n'
    fi
}

# get_mark: prints the state of this directory.
get_mark() {
    said=
    if has getfattr; then
        value=$(getfattr --only-values -n "$name" . 2>/dev/null) &&
            printf 'mark %s\n' "$value" && return
        said=$(getfattr -n "$name" . 2>&1)
        case $said in
        *": No such attribute")
            printf 'none\n'
            return
            ;;
        esac
    fi
    with_python || unable "$said"
}

# set_mark MARK: prints the result for this directory.
set_mark() {
    said=
    if has setfattr; then
        said=$(setfattr -n "$name" -v "$1" . 2>&1) && printf 'done\n' && return
    fi
    with_python "$1" || unable "$said"
}

enter() {
    [ -d "$1" ] || reply missing
    cd -- "$1" 2>/dev/null || reply refused "no right to enter it"
}

# read_mark NUMBER NUMBER DIRECTORY
read_mark() {
    sum=$(($1 + $2))
    enter "$3"
    reply "$(get_mark)"
} </dev/null

# write_mark NUMBER NUMBER DIRECTORY MARK [PRESENT..]: only if it has one of these marks, if there
# are any.
write_mark() {
    sum=$(($1 + $2))
    enter "$3"
    mark=$4
    shift 4
    if [ $# -gt 0 ]; then
        found=$(get_mark)
        is_known=
        for known; do
            [ "$found" != "mark $known" ] || is_known=1
        done
        if [ -z "$is_known" ]; then
            case $found in
            mark* | none) reply other ;;
            *) reply "$found" ;;
            esac
        fi
    fi
    reply "$(set_mark "$mark")"
} </dev/null
