-- Mirrors a tree on this machine by cp, mv and rm.
--
-- Each event is worked off by a command of the shell. What to learn from it: names are arguments of the
-- shell, so they are safe whatever is in them; and an event only says where to look. By the time a command
-- runs, a file may be gone, be another one, or have moved on. So each command looks at what is there now,
-- and whatever changes afterwards is told by an event that comes later.
--
-- To try it:    SOURCE=/tmp/watched TARGET=/tmp/mirror lsyncd -nodaemon examples/shell-mirror.lua
-- To change:    the functions of the shell, for example to compress what is copied. SOURCE, TARGET (both
--               have to exist), and DELAY, the seconds that an event waits.
-- It needs:     cp and find of GNU.
--
-- For a plain mirror take default.direct: it needs no program, and holds much more.

-- $1 is the source, $2 the target, $3 a name below both, $4 where that was moved to.
local functions = [[
    source=${1%/} target=${2%/} name=$3 to=$4

    exists() { [ -e "$1" ] || [ -L "$1" ]; }
    is_directory() { [ -d "$1" ] && [ ! -L "$1" ]; }
    is_other() { exists "$1" && ! is_directory "$1"; }
    has_parent() { [ -d "${1%/*}" ]; }

    # There is no news from behind a link: what this was told of has been a directory.
    is_past() {
        case $1 in */*) ;; *) return 1 ;; esac
        set -- "${1%/*}"
        [ -L "$source/$1" ] || [ -L "$target/$1" ] || is_past "$1"
    }

    # What has vanished meanwhile is told by another event, and so is a directory that is to come first.
    # A file may have several names on the target: it is replaced, not written to.
    copy() {
        is_past "$1" && return
        is_other "$source/$1" && has_parent "$target/$1" || return 0
        if is_directory "$target/$1"; then rm -rf "$target/$1"; fi
        cp -aT --remove-destination "$source/$1" "$target/$1" || ! exists "$source/$1"
    }

    # What is in a directory has events of its own.
    make() {
        is_past "$1" && return
        is_directory "$source/$1" || return 0
        if is_other "$target/$1"; then rm "$target/$1"; fi
        mkdir -p "$target/$1" && chmod --reference="$source/$1" "$target/$1"
    }

    # If there is a file of this name again, it is told of, and so is all that is in a directory.
    delete() {
        is_past "$1" && return
        if is_other "$target/$1" && ! exists "$source/$1"; then rm "$target/$1"; fi
    }
    delete_directory() {
        is_past "$1" && return
        if is_directory "$target/$1"; then rm -rf "$target/$1"; fi
    }

    # What can be seen of a tree without reading its files.
    glance() (
        exec 2>/dev/null
        cd "$1" || return
        find . -type d -printf "%y %m %P\n" -o -printf "%y %m %s %T@ %l %P\n" | LC_ALL=C sort
    )

    # A copy may have been made just after the move, of another file with the name of old. So what was
    # renamed on the target may not be what was renamed in the source.
    move() {
        is_past "$2" && return
        if exists "$target/$1" && ! is_past "$1" && has_parent "$target/$2"; then
            rm -rf "$target/$2"
            mv -T "$target/$1" "$target/$2"
        fi
        if is_directory "$source/$2"; then
            [ "$(glance "$source/$2")" = "$(glance "$target/$2")" ] && return
            rm -rf "$target/$2"
            cp -aT "$source/$2" "$target/$2"
        else
            copy "$2"
        fi
    }

    # What only the target has stays, unless it is in the way.
    start() {
        cd "$target" && find . -mindepth 1 -exec sh -c '
            for name; do
                if [ -d "$0/$name" ] && [ ! -L "$0/$name" ]; then
                    if [ ! -d "$name" ] || [ -L "$name" ]; then rm -f "$name"; fi
                elif [ -e "$0/$name" ] || [ -L "$0/$name" ]; then
                    if [ -d "$name" ] && [ ! -L "$name" ]; then rm -rf "$name"; fi
                fi
            done' "$source" {} + ;
        cp -aT --remove-destination "$source" "$target"
    }
]]

-- Calls one of the functions of the shell for an event.
local function run(call, event, to)
    spawnShell(
        event, functions .. call,
        event.source, event.target, event.pathname, to and to.pathname or ""
    )
end

local function bring(event) run(event.isdir and 'make "$name"' or 'copy "$name"', event) end

sync {
    source    = os.getenv("SOURCE") or "/tmp/watched",
    target    = os.getenv("TARGET") or "/tmp/mirror",
    delay     = tonumber(os.getenv("DELAY") or 1),
    -- What a command does depends on those before it.
    maxProcesses = 1,
    -- What could not be copied is tried again.
    exitcodes = { [0] = "ok", [1] = "again" },

    onStartup = function(event) run("start", event) end,
    onCreate  = bring,
    onModify  = bring,
    onAttrib  = bring,
    onDelete  = function(event)
        run(event.isdir and 'delete_directory "$name"' or 'delete "$name"', event)
    end,
    -- Without it a move is told as a deletion and a creation.
    onMove    = function(from, to) run('move "$name" "$to"', from, to) end,
}
