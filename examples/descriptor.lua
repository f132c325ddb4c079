-- Reads commands from a file descriptor and answers them: a console for the daemon.
--
-- Shows:
--   - observefd, which calls a function when data is available, so that reading never blocks the
--     daemon
--   - a command that becomes an event, and is therefore processed in order with the changes
-- Try:
--   SOURCE=/tmp/watched TARGET=/tmp/mirror lsyncd -nodaemon examples/descriptor.lua
--   Then enter one of these commands:
--     changes   prints the number of transferred changes
--     full      requests a full transfer
--     say TEXT  prints the text, in order with the changes
--     stop      stops reading commands
-- Settings (environment variables):
--   SOURCE, TARGET  directory to mirror, and its destination
--   DESCRIPTOR      number of an inherited descriptor: a terminal, a pipe or a FIFO
--   ANSWERS         file to which the answers are appended
-- Requires: rsync.

local descriptor = tonumber(os.getenv("DESCRIPTOR") or 0)
local orders = assert(io.open("/dev/fd/" .. descriptor))
local answers = assert(io.open(os.getenv("ANSWERS") or "/dev/fd/1", "a"))

-- Disables read buffering: observefd does not report input that is already in a buffer of Lua.
orders:setvbuf("no")
answers:setvbuf("line")

local changes = 0

local function answer(...) answers:write(table.concat({ ... }, " "), "\n") end

local inlet = sync {
    default.rsync,
    source = os.getenv("SOURCE") or "/tmp/watched",
    target = os.getenv("TARGET") or "/tmp/mirror",
    delay  = 1,

    action = function(inlet)
        local event = inlet.getEvent()
        if event.etype ~= "Blanket" then return default.rsync.action(inlet) end
        spawn(event, "echo", event.text)
    end,

    collect = function(agent, exitcode)
        if agent.isList then
            changes = changes + agent.size()
        elseif agent.etype == "Blanket" then
            answer("said", agent.text)
            return "ok"
        end
        return default.rsync.collect(agent, exitcode)
    end,
}

local function leave()
    nonobservefd(descriptor)
    orders:close()
end

local commands = {
    changes = function() answer("changes", changes) end,
    full = function()
        inlet.createFullEvent("/")
        answer("full")
    end,
    -- Answered after everything in progress, and before all later changes.
    say = function(text) inlet.createBlanketEvent().text = text end,
    stop = function()
        answer("stopped")
        leave()
    end,
}

local function obey(line)
    local order, rest = line:match("^%s*(%S*)%s*(.-)%s*$")
    local command = commands[order]
    if command then command(rest) elseif order ~= "" then answer("unknown", order) end
end

local line = ""

-- Reads one byte per call: waiting for the rest of a line would block all syncs.
observefd(descriptor, function()
    local byte = orders:read(1)
    if byte == "\n" then
        local whole = line
        line = ""
        obey(whole)
    elseif byte then
        line = line .. byte
    else
        leave()
    end
end)
