-- Tells a channel of IRC what changes.
--
-- What to learn from it: a connection of one's own. The module "socket" makes it, observefd calls a function
-- whenever there is something to read, so that the daemon never waits for the other side, and an alarm makes
-- it anew after it broke.
--
-- To try it:    SOURCE=/tmp/watched HOST=localhost CHANNEL=#changes lsyncd -nodaemon examples/chat.lua
-- To change:    what is said. SOURCE, HOST, PORT, NICK, CHANNEL; RETRY, the seconds until it connects again.
-- It needs:     a server that wants no encryption.

local socket = require "socket"

local host = os.getenv("HOST") or "localhost"
local port = tonumber(os.getenv("PORT") or 6667)
local nick = os.getenv("NICK") or "lsyncd"
local channel = os.getenv("CHANNEL") or "#changes"
local retry = tonumber(os.getenv("RETRY") or 10)

local connection
local is_in_channel = false

local function send(...) connection:send(table.concat({ ... }, " ") .. "\r\n") end

-- What may be said in one line, whatever is in a name.
local function tell(text)
    if is_in_channel then send("PRIVMSG", channel, ":" .. text:gsub("%c", "?"):sub(1, 400)) end
end

local function answer(line)
    local token = line:match("^PING (.*)")
    if token then send("PONG", token) end
    if line:match("^:%S+ 001 ") then
        send("JOIN", channel)
        is_in_channel = true
    end
end

-- What has come of a line that is not complete.
local begun = ""

local connect

local function read(descriptor)
    while true do
        local line, why, part = connection:receive("*l")
        if line then
            answer(begun .. line)
            begun = ""
        elseif why == "timeout" then
            begun = begun .. part
            return
        else
            log("Warn", "the connection to ", host, " ended: ", why)
            nonobservefd(descriptor)
            connection:close()
            is_in_channel = false
            begun = ""
            alarm(now() + retry, connect)
            return
        end
    end
end

function connect()
    local why
    connection, why = socket.connect(host, port)
    if not connection then
        log("Warn", "no connection to ", host, ": ", why)
        alarm(now() + retry, connect)
        return
    end
    connection:settimeout(0)
    send("NICK", nick)
    send("USER", nick, "0 * :" .. nick)
    observefd(connection:getfd(), read)
end

local has_begun = false

sync {
    source = os.getenv("SOURCE") or "/tmp/watched",

    -- Also when events got lost and all begins anew.
    init = function(event)
        if has_begun then tell("something has changed") else connect() end
        has_begun = true
        event.inlet.discardEvent(event)
    end,

    action = function(inlet)
        local event = inlet.getEvent()
        tell(event.etype .. " " .. event.path)
        inlet.discardEvent(event)
    end,
}
