-- Runs one command per event, which prints the event.
--
-- Shows:
--   - the simplest kind of script: a command for each type of event, in which ^variables stand for
--     properties of the event
--   - which events a sync receives; nothing is copied
-- Try:
--   SOURCE=/tmp/watched lsyncd -nodaemon examples/echo.lua
-- Settings (environment variables):
--   SOURCE  directory to watch
--   ECHO    program to call. A command that begins with a slash is a program with its arguments;
--           any other command is run by the shell

local source = os.getenv("SOURCE") or "/tmp/watched"
local echo = os.getenv("ECHO") or "/bin/echo"

sync {
    source    = source,
    onStartup = echo .. " startup ^source",
    onCreate  = echo .. " create ^path",
    onModify  = echo .. " modify ^path",
    onAttrib  = echo .. " attrib ^path",
    onDelete  = echo .. " delete ^path",
    -- Without onMove, a rename is reported as a deletion and a creation.
    onMove    = echo .. " move ^o.path ^d.path",
}
