-- Tells each event by a program of its own.
--
-- The least that a script can be, and the way to see what a sync is told: texts in the place of functions,
-- in which words with a ^ stand for what the event is about. Nothing is copied.
--
-- To try it:    SOURCE=/tmp/watched lsyncd -nodaemon examples/echo.lua
-- To change:    the commands. A text that begins with a slash is a program with its words, any other one
--               is for the shell. ECHO is the program that is called.

local source = os.getenv("SOURCE") or "/tmp/watched"
local echo = os.getenv("ECHO") or "/bin/echo"

sync {
    source    = source,
    onStartup = echo .. " startup ^source",
    onCreate  = echo .. " create ^path",
    onModify  = echo .. " modify ^path",
    onAttrib  = echo .. " attrib ^path",
    onDelete  = echo .. " delete ^path",
    -- Without it a move is told as a deletion and a creation.
    onMove    = echo .. " move ^o.path ^d.path",
}
