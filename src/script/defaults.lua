-- Behaviour of the defaults in a sync that has functions of its own as well.

local host, syncs, events = ...

local error, ipairs, log, tostring, type = error, ipairs, log, tostring, type

-- Calls the function of this name for an event, if there is one. An event that it does not start to
-- work on is done.
local function tell(name, inlet, event, to)
    local act = event.config[name]
    if type(act) == "function" then act(event, to) end
    if event.status == "wait" then inlet.discardEvent(event) end
end

local function action(inlet)
    local event, to = inlet.getEvent()
    if event then tell("on" .. event.etype, inlet, event, to) end
end

local function init(event) tell("onStartup", event.inlet, event) end

local function full(event) tell("onFull", event.inlet, event) end

-- Returns the meaning of an exit code. An unknown one ends the daemon, unless the program is one of
-- ours.
local function class_of(codes, code, unknown)
    if not codes then return code == 0 and "ok" or "die" end
    return codes[code] or unknown
end

-- After it has logged why the daemon ends, no further reason is logged, whatever function returns
-- the result.
local function startup(event, code, class)
    local own, config = events.own_of(event), event.config
    local target = config.target
    if target == nil and config.host then target = config.host .. ":" .. config.targetdir end
    target = target == nil and "(nil)" or host.escaped(tostring(target))
    local route = host.escaped(config.source) .. " -> " .. target
    if class == "ok" then
        log("Normal", "Startup of ", route, " finished.")
        return "ok"
    elseif class == "again" then
        if host.insists(own.number) then
            log("Normal", "Retrying startup of ", route, ": ", code)
            return "again"
        end
        own.is_told = true
        log("Error", "Temporary or permanent failure on startup of ", route,
            '. Terminating since "insist" is not set.')
        return "die"
    elseif class == "die" then
        own.is_told = true
        log("Error", "Failure on startup of ", route, ".")
        return "die"
    end
    log("Error", 'Unknown exitcode "', code, '" on startup of ', route, ".")
    return "die"
end

-- Logs the result of the work on a list or an event, and returns the consequence.
local function running(code, class, done, again, failed, unknown)
    if class == "ok" then
        log("Normal", "Finished ", done)
    elseif class == "again" then
        log("Normal", "Retrying ", again)
    elseif class == "die" then
        log("Error", "Failure with ", failed)
    else
        log("Error", 'Unknown exitcode "', code, '" with ', unknown)
        return "die"
    end
    return class
end

local function judge(agent, code, class)
    if agent.isList then
        local again = "a list after exitcode = " .. code
        return running(code, class, "a list after exitcode: " .. code, again,
            "a list with exitcode = " .. code, "a list")
    end
    if agent.etype == "Init" then return startup(agent, code, class) end
    local what = agent.etype .. " on " .. host.escaped(agent.sourcePath) .. " = " .. code
    return running(code, class, what, what, what, what)
end

local function collect(agent, code)
    return judge(agent, code, class_of(agent.config.exitcodes, code))
end

-- Returns the functions of a default with a built-in target. The state of the disk decides what is
-- transferred, not the type of an event.
local function with_target(base, codes_of)
    -- Any of the defaults is accepted: those of the original are built from each other.
    local function needs(number)
        if syncs[number].base == "own" then
            error("this sync does not take default." .. base .. ", so its functions cannot be used", 3)
        end
    end

    local function transfer(agent, is_full)
        local own = events.own_of(agent)
        needs(own.number)
        local job, why = host.transfer(own.number, own.ids or own.id, is_full)
        if job then
            host.agents[job] = events.whole(agent)
        elseif why == "now" then
            log("Normal", "ignored process spawning while fading")
        else
            error("the event is being worked on already, or as much runs as may", 3)
        end
    end

    local function is_ordinary(event)
        local etype = event.etype
        return etype ~= "Init" and etype ~= "Blanket" and etype ~= "Full"
    end

    local its = {}

    function its.init(event) transfer(event, true) end

    function its.full(event) transfer(event, true) end

    function its.action(inlet)
        local first = inlet.getEvent()
        if not first then return end
        if first.etype == "Full" then return transfer(first, true) end
        if first.etype == "Blanket" then return inlet.discardEvent(first) end
        local list = inlet.getEvents(is_ordinary)
        if list.size() > 0 then transfer(list, false) end
    end

    function its.collect(agent, code)
        return judge(agent, code, class_of(agent.config[codes_of], code, "again"))
    end

    return its
end

return {
    own = { action = action, init = init, full = full, collect = collect },
    rsync = with_target("rsync", "exitcodes"),
    rsyncssh = with_target("rsyncssh", "rsyncExitCodes"),
    direct = with_target("direct", "rsyncExitCodes"),
}
