-- Takes orders through a descriptor, and answers: a console for a daemon, or its way into a chat.
--
-- What to learn from it: observefd, which calls a function whenever something can be read, so that the
-- daemon never waits for it; and orders that become events, so that they stand in line with the changes.
--
-- To try it:    SOURCE=/tmp/watched TARGET=/tmp/mirror lsyncd -nodaemon examples/descriptor.lua
--               and then type  changes,  full,  say hello,  or  stop.
-- To change:    the orders. SOURCE, TARGET; DESCRIPTOR is the number of one that the daemon was started with,
--               a terminal, a pipe or a fifo; ANSWERS is the file in which the answers are written.
-- It needs:     rsync.

local descriptor = tonumber(os.getenv("DESCRIPTOR") or 0)
local orders = assert(io.open("/dev/fd/" .. descriptor))
local answers = assert(io.open(os.getenv("ANSWERS") or "/dev/fd/1", "a"))

-- What was read shall not wait in a buffer of Lua, where nobody is told of it.
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
    -- After all that is under way, and before all that comes later.
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

-- One byte at a time: to wait for the rest of a line would hold up all mirrors.
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
