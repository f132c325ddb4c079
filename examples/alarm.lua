-- Runs a command at a fixed interval, with the number of changes since its previous run.
--
-- Shows:
--   - alarms, which call a function once at a given time
--   - a blanket event, which allows an alarm to start a program
--   - state in local variables next to the sync
-- Try:
--   SOURCE=/tmp/watched INTERVAL=5 lsyncd -nodaemon examples/alarm.lua
-- Settings (environment variables):
--   SOURCE    directory to watch
--   INTERVAL  seconds between two runs
--   COMMAND   shell command; $1 is the number of changes since the previous run

local source = os.getenv("SOURCE") or "/tmp/watched"
local interval = tonumber(os.getenv("INTERVAL") or 60)
local command = os.getenv("COMMAND") or 'echo "$1 changes"'

local changes = 0

-- Handles an alarm. The arguments are the time at which it was due and the extra value.
local function ring(due, inlet)
    inlet.createBlanketEvent()
    alarm(due + interval, ring, inlet)
end

local has_begun = false

sync {
    source = source,

    -- Also called after lost events. Only the first call starts the alarm.
    init = function(event)
        if not has_begun then ring(now(), event.inlet) end
        has_begun = true
        event.inlet.discardEvent(event)
    end,

    action = function(inlet)
        local event = inlet.getEvent()
        if event.etype == "Blanket" then
            spawnShell(event, command, changes)
            changes = 0
        else
            changes = changes + 1
            inlet.discardEvent(event)
        end
    end,

    collect = function(event, exitcode)
        if exitcode ~= 0 then log("Warn", "the command ended with ", exitcode) end
    end,
}
