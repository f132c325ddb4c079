-- Mirrors with rsync, and runs a command with the names of the transferred files.
--
-- Shows:
--   - onSynced, which makes most scripts that wrap rsync unnecessary. The command reads the paths
--     from its standard input, each terminated by a NUL
-- Try:
--   SOURCE=/srv/www TARGET=web1:/srv/www lsyncd -nodaemon examples/on-synced.lua
-- Settings (environment variables):
--   SOURCE, TARGET  directory to mirror, and its destination
--   DELAY           seconds from the first change to the transfer
--   COMMAND         shell command, with $LSYNCD_SYNC, $LSYNCD_SOURCE and $LSYNCD_TARGET in its
--                   environment
-- Requires: rsync.

sync {
    default.rsync,
    source   = os.getenv("SOURCE") or "/srv/www",
    target   = os.getenv("TARGET") or "web1:/srv/www",
    delay    = tonumber(os.getenv("DELAY") or 5),
    onSynced = os.getenv("COMMAND") or [[xargs -0 -n 1 echo arrived: | logger -t "$LSYNCD_SYNC"]],
    -- If the command fails, the batch and the command are retried with growing backoff.
    onSyncedFailure = "retry",
}
