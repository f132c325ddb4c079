-- Mirrors by rsync, and runs a command whenever a transfer is done.
--
-- What to learn from it: how to wrap a default. What this script does not do itself, it leaves to the
-- functions of default.rsync. The command has an event of its own, a blanket, which keeps all later
-- changes waiting until it is over; a flag on it says whose it is.
--
-- To try it:    SOURCE=/tmp/watched TARGET=/tmp/mirror COMMAND='echo "$1 was transferred"' \
--               lsyncd -nodaemon examples/post-command.lua
-- To change:    SOURCE, TARGET, DELAY, and COMMAND, which is for the shell: $1 is the source, $2 the target.
-- It needs:     rsync.
--
-- The setting onSynced does as much without a script; see on-synced.lua.

-- An rsync sync with a command.
local function commanded(settings)
    local inlet

    local layer = {
        default.rsync,

        -- A setting of our own, beside those of default.rsync.
        checkgauge = { command = true },

        action = function()
            local event = inlet.getEvent()
            if not rawget(event, "isCommand") then
                return default.rsync.action(inlet)
            end
            spawnShell(event, event.config.command, event.source, event.target)
        end,

        -- For the first transfer, for each batch, and for the command.
        collect = function(agent, exitcode)
            if not agent.isList and agent.etype == "Blanket" then
                if exitcode == 0 then return "ok" end
                log("Error", "the command ended with ", exitcode, "; it is run again")
                return "again"
            end
            local result = default.rsync.collect(agent, exitcode)
            if result ~= "again" and result ~= "die" then
                inlet.createBlanketEvent().isCommand = true
            end
            return result
        end,
    }

    inlet = sync { settings, layer }
end

commanded {
    source  = os.getenv("SOURCE") or "/tmp/watched",
    target  = os.getenv("TARGET") or "/tmp/mirror",
    delay   = tonumber(os.getenv("DELAY") or 5),
    command = os.getenv("COMMAND") or 'echo "$1 was transferred"',
}
