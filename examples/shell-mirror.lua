-- Mirrors a local directory with cp, mv and rm.
--
-- Shows:
--   - a shell command for each event, with the names as arguments: they are safe, whatever
--     characters they contain
--   - an event is only a hint. When its command runs, the file may have been deleted, replaced or
--     renamed again. Each command therefore checks the current state; any later change causes
--     another event
-- Try:
--   SOURCE=/tmp/watched TARGET=/tmp/mirror lsyncd -nodaemon examples/shell-mirror.lua
-- Settings (environment variables):
--   SOURCE, TARGET  directory to mirror, and its destination; both must exist
--   DELAY           seconds from an event to its command
-- Requires: GNU cp and find.
--
-- For a plain mirror, use default.direct: it needs no other program and is more robust. To process
-- the files, for example to compress them, change the shell functions.

-- The arguments are the source, the target, a path relative to both, and its new path if it was
-- renamed.
local functions = [[
    source=${1%/} target=${2%/} name=$3 to=$4

    exists() { [ -e "$1" ] || [ -L "$1" ]; }
    is_directory() { [ -d "$1" ] && [ ! -L "$1" ]; }
    is_other() { exists "$1" && ! is_directory "$1"; }
    has_parent() { [ -d "${1%/*}" ]; }

    # Returns true if a parent directory has become a symbolic link. Events are not reported through
    # links, so this one is outdated.
    is_past() {
        case $1 in */*) ;; *) return 1 ;; esac
        set -- "${1%/*}"
        [ -L "$source/$1" ] || [ -L "$target/$1" ] || is_past "$1"
    }

    # A file that has vanished meanwhile and a missing parent directory have events of their own.
    # The target may have hard links to the file, so it is replaced, not overwritten.
    copy() {
        is_past "$1" && return
        is_other "$source/$1" && has_parent "$target/$1" || return 0
        if is_directory "$target/$1"; then rm -rf "$target/$1"; fi
        cp -aT --remove-destination "$source/$1" "$target/$1" || ! exists "$source/$1"
    }

    # The entries of a directory have events of their own.
    make() {
        is_past "$1" && return
        is_directory "$source/$1" || return 0
        if is_other "$target/$1"; then rm "$target/$1"; fi
        mkdir -p "$target/$1" && chmod --reference="$source/$1" "$target/$1"
    }

    # If the path exists again, later events report it, and everything in it if it is a directory.
    delete() {
        is_past "$1" && return
        if is_other "$target/$1" && ! exists "$source/$1"; then rm "$target/$1"; fi
    }
    delete_directory() {
        is_past "$1" && return
        if is_directory "$target/$1"; then rm -rf "$target/$1"; fi
    }

    # Prints the metadata of a tree, without reading its files.
    glance() (
        exec 2>/dev/null
        cd "$1" || return
        find . -type d -printf "%y %m %P\n" -o -printf "%y %m %s %T@ %l %P\n" | LC_ALL=C sort
    )

    # An earlier copy may have run after the rename in the source, and copied a new file of the old
    # name. The renamed entry is therefore compared with the source, or copied again.
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

    # Entries that only the target has are kept, unless they conflict with an entry of the source.
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

-- Calls one of the shell functions for an event.
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
    -- The effect of a command depends on the previous ones.
    maxProcesses = 1,
    -- Retries failed commands.
    exitcodes = { [0] = "ok", [1] = "again" },

    onStartup = function(event) run("start", event) end,
    onCreate  = bring,
    onModify  = bring,
    onAttrib  = bring,
    onDelete  = function(event)
        run(event.isdir and 'delete_directory "$name"' or 'delete "$name"', event)
    end,
    -- Without onMove, a rename is reported as a deletion and a creation.
    onMove    = function(from, to) run('move "$name" "$to"', from, to) end,
}
