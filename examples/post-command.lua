-- Mirrors with rsync, and runs a command after each transfer.
--
-- Shows:
--   - how to wrap a default: events that the script does not handle itself are passed to the
--     functions of default.rsync
--   - a blanket event for the command, which blocks all later changes until the command has exited;
--     a flag in the event identifies it
-- Try:
--   SOURCE=/tmp/watched TARGET=/tmp/mirror COMMAND='echo "$1 was transferred"' \
--     lsyncd -nodaemon examples/post-command.lua
-- Settings (environment variables):
--   SOURCE, TARGET  directory to mirror, and its destination
--   DELAY           seconds from the first change to the transfer
--   COMMAND         shell command; $1 is the source, $2 the target
-- Requires: rsync.
--
-- The setting onSynced does the same without a script; see on-synced.lua.

-- Creates an rsync sync that runs a command after each transfer.
local function commanded(settings)
    local inlet

    local layer = {
        default.rsync,

        -- Allows the setting "command" in addition to those of default.rsync.
        checkgauge = { command = true },

        action = function()
            local event = inlet.getEvent()
            if not rawget(event, "isCommand") then
                return default.rsync.action(inlet)
            end
            spawnShell(event, event.config.command, event.source, event.target)
        end,

        -- Called after the first transfer, after each batch, and after the command.
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
