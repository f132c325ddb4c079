-- Does something every so often while changes come in: here it tells how many there were.
--
-- What to learn from it: alarms, which call a function once at a given time; a blanket event, by which an
-- alarm gets to start a program; and state of your own, in variables beside the sync.
--
-- To try it:    SOURCE=/tmp/watched INTERVAL=5 lsyncd -nodaemon examples/alarm.lua
-- To change:    SOURCE; INTERVAL in seconds; COMMAND, which is for the shell: $1 is the number of changes
--               since it was called before.

local source = os.getenv("SOURCE") or "/tmp/watched"
local interval = tonumber(os.getenv("INTERVAL") or 60)
local command = os.getenv("COMMAND") or 'echo "$1 changes"'

local changes = 0

-- Called by the alarm, with the time at which it was due and what was given with it.
local function ring(due, inlet)
    inlet.createBlanketEvent()
    alarm(due + interval, ring, inlet)
end

local has_begun = false

sync {
    source = source,

    -- Also when events got lost and all begins anew: one alarm is enough.
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
