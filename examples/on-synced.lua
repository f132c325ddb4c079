-- Mirrors by rsync, and does something with the names of what has just arrived.
--
-- What to learn from it: onSynced, with which most scripts that wrap rsync can be left unwritten. The command
-- gets the paths on its standard input, each with a NUL behind it.
--
-- To try it:    SOURCE=/srv/www TARGET=web1:/srv/www lsyncd -nodaemon examples/on-synced.lua
-- To change:    SOURCE, TARGET, DELAY, and COMMAND, which is for the shell. $LSYNCD_SYNC, $LSYNCD_SOURCE and
--               $LSYNCD_TARGET are in its environment.
-- It needs:     rsync.

sync {
    default.rsync,
    source   = os.getenv("SOURCE") or "/srv/www",
    target   = os.getenv("TARGET") or "web1:/srv/www",
    delay    = tonumber(os.getenv("DELAY") or 5),
    onSynced = os.getenv("COMMAND") or [[xargs -0 -n 1 echo arrived: | logger -t "$LSYNCD_SYNC"]],
    -- If it fails, the batch and it are made once more, later and later.
    onSyncedFailure = "retry",
}
