-- Announces changes in an IRC channel.
--
-- Shows:
--   - a TCP connection of the module "socket"
--   - observefd, which calls a function when data is available, so that reading never blocks the
--     daemon
--   - an alarm that reconnects after a failure
-- Try:
--   SOURCE=/tmp/watched HOST=localhost CHANNEL=#changes lsyncd -nodaemon examples/chat.lua
-- Settings (environment variables):
--   SOURCE      directory to watch
--   HOST, PORT  address of the server
--   NICK        nickname
--   CHANNEL     channel to join
--   RETRY       seconds until a reconnect
-- Requires: an IRC server that accepts unencrypted connections.

local socket = require "socket"

local host = os.getenv("HOST") or "localhost"
local port = tonumber(os.getenv("PORT") or 6667)
local nick = os.getenv("NICK") or "lsyncd"
local channel = os.getenv("CHANNEL") or "#changes"
local retry = tonumber(os.getenv("RETRY") or 10)

local connection
local is_in_channel = false

local function send(...) connection:send(table.concat({ ... }, " ") .. "\r\n") end

-- Sends a message. Control characters are replaced and the length is limited, so any file name fits
-- into one line.
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

-- The received part of an incomplete line.
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

    -- Also called after lost events.
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
