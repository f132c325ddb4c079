-- Script view of the queue: events, lists of events, and the inlet of a sync.
--
-- `host` holds the functions implemented in Rust: see host.rs. Each sync has a number there.

local host, syncs = ...

local error, ipairs, log, pairs, rawget = error, ipairs, log, pairs, rawget
local setmetatable, tostring, type = setmetatable, tostring, type

-- Key of our own fields of an event or a list, separate from the fields that scripts store.
local OWN = {}

-- Events

local field = {}

function field.etype(own) return own.etype end
function field.status(own) return host.status(own.number, own.id) or "done" end
function field.isList() return false end
function field.isdir(own) return own.place:sub(-1) == "/" end
function field.basename(own) return own.place:match("([^/]+)/?$") end
function field.name(own) return own.place:match("([^/]+/?)$") end
function field.path(own) return own.place:sub(2) end
function field.pathname(own) return (own.place:sub(2):gsub("/$", "")) end
function field.pathdir(own) return own.place:match("^/(.*/)[^/]+/?$") or "" end
function field.config(own) return syncs[own.number].config end
function field.inlet(own) return syncs[own.number].inlet end
function field.move(own) return own.move end
function field.source(own) return syncs[own.number].config.source end

-- The target may be any text: it is used unchanged.
function field.target(own) return syncs[own.number].config.target end

local function target(own)
    local text = field.target(own)
    if text == nil then error("the sync has no target", 4) end
    return text
end

for base, root in pairs { source = field.source, target = target } do
    field[base .. "Path"] = function(own) return root(own) .. own.place end
    field[base .. "Pathname"] = function(own) return root(own) .. own.place:gsub("/$", "") end
    field[base .. "Pathdir"] = function(own)
        return root(own) .. (own.place:match("^(.*/)[^/]+/?$") or "")
    end
end

local event_meta = {
    __name = "event",
    __index = function(event, name)
        local get = field[name]
        if not get then error('event does not have field "' .. tostring(name) .. '"', 2) end
        -- Not a tail call, so that an error has the position of the caller.
        local value = get(rawget(event, OWN))
        return value
    end,
}

-- The events that scripts have seen, by sync and id. While an event waits or is being handled it is
-- one object, with all fields that a script has stored in it.
local known = setmetatable({}, {
    __index = function(known, number)
        known[number] = { count = 0, events = {} }
        return known[number]
    end,
})

-- Drops completed events once there may be many.
local function sweep(number, seen)
    if seen.count <= 2 * host.length(number) + 64 then return end
    seen.count = 0
    for id in pairs(seen.events) do
        if host.status(number, id) then seen.count = seen.count + 1 else seen.events[id] = nil end
    end
end

local function event_of(number, id, etype, place, move)
    local own = { number = number, id = id, etype = etype, place = place, move = move }
    return setmetatable({ [OWN] = own }, event_meta)
end

-- Returns the event of this id, and for a move also the one for the new name.
local function find(number, id)
    local seen = known[number]
    local both = seen.events[id]
    if not both then
        sweep(number, seen)
        local etype, place, to = host.event(number, id)
        if not etype then return end
        both = { event_of(number, id, etype, place, to and "Fr") }
        both[2] = to and event_of(number, id, etype, to, "To")
        seen.events[id] = both
        seen.count = seen.count + 1
    end
    return both[1], both[2]
end

-- Lists

local function paths(own, mutator)
    if mutator == nil then return host.paths(own.number, own.ids) end
    local found = {}
    host.each(own.ids, function(id)
        local one, two = mutator(host.event(own.number, id))
        if one ~= nil then found[#found + 1] = one end
        if two ~= nil then found[#found + 1] = two end
    end)
    return found
end

local function events(own)
    local found = {}
    host.each(own.ids, function(id) found[#found + 1] = find(own.number, id) end)
    return found
end

local list_functions = { getPaths = paths, getList = events }

function list_functions.size(own) return host.size(own.ids) end

local list_meta = {
    __name = "event list",
    __index = function(list, name)
        local own = rawget(list, OWN)
        if name == "isList" then return true end
        if name == "config" then return syncs[own.number].config end
        local act = list_functions[name]
        if not act then
            error('event list does not have function "' .. tostring(name) .. '"', 2)
        end
        return function(...) return act(own, ...) end
    end,
}

local function list_of(number, ids)
    return setmetatable({ [OWN] = { number = number, ids = ids } }, list_meta)
end

-- Returns our own fields of an event or a list, or `nil` for other values.
local function own_of(agent)
    return type(agent) == "table" and rawget(agent, OWN) or nil
end

-- Returns the object that a child works on: for a move the event of the old name, whichever was
-- given.
local function whole(agent)
    local own = own_of(agent)
    return own.ids and agent or (find(own.number, own.id))
end

-- The inlet

local function pick_of(number, test)
    if test == nil then return nil end
    return function(id)
        local answer = test(find(number, id))
        if answer == "break" then return "break" end
        return answer and true or false
    end
end

local function as_list(config, name)
    local list = config[name]
    if type(list) ~= "table" then list = { list } end
    config[name] = list
    return list
end

local inlet_functions = {}

function inlet_functions.getEvent(number)
    local id = host.first(number)
    if id then return find(number, id) end
end

function inlet_functions.getEvents(number, test)
    return list_of(number, host.select(number, pick_of(number, test)))
end

function inlet_functions.discardEvent(number, event)
    local own = own_of(event)
    if not (own and own.id and own.number == number) then
        error("discardEvent takes an event of the sync whose inlet it is called of", 2)
    end
    if host.discard(number, own.id) then
        known[number].events[own.id] = nil
    else
        log("Error", "Ignored cancel of a non-waiting event of type ", own.etype)
    end
end

function inlet_functions.getConfig(number) return syncs[number].config end
function inlet_functions.getSync(number) return syncs[number].inlet end

function inlet_functions.createBlanketEvent(number) return (find(number, host.push_blanket(number))) end

function inlet_functions.createFullEvent(number, path)
    local id = host.push_full(number, tostring(path or "/"))
    return id and (find(number, id))
end

function inlet_functions.addExclude(number, pattern)
    table.insert(as_list(syncs[number].config, "exclude"), pattern)
    host.refilter(number)
end

function inlet_functions.appendFilter(number, rule)
    table.insert(as_list(syncs[number].config, "filter"), rule)
    host.refilter(number)
end

function inlet_functions.rmExclude(number, pattern)
    local list = as_list(syncs[number].config, "exclude")
    for n = #list, 1, -1 do
        if list[n] == pattern then
            table.remove(list, n)
            return host.refilter(number)
        end
    end
    log("Normal", 'Removing not excluded exclude "', tostring(pattern), '"')
end

function inlet_functions.getExcludes(number)
    return { table.unpack(as_list(syncs[number].config, "exclude")) }
end

function inlet_functions.getFilters(number)
    local rules = { table.unpack(as_list(syncs[number].config, "filter")) }
    for _, pattern in ipairs(as_list(syncs[number].config, "exclude")) do
        rules[#rules + 1] = "- " .. pattern
    end
    return rules
end

function inlet_functions.hasFilters(number) return #inlet_functions.getFilters(number) > 0 end

-- Writes the values of the variables into `values`.
function inlet_functions.getSubstitutionData(number, event, values)
    local own = own_of(event)
    values = values or {}
    values.source, values.target = field.source({ number = number }), field.target({ number = number })
    if own and own.place then
        for _, name in ipairs { "path", "pathname", "pathdir", "sourcePath", "sourcePathname", "sourcePathdir" } do
            values[name] = field[name](own)
        end
        if values.target ~= nil then
            for _, name in ipairs { "targetPath", "targetPathname", "targetPathdir" } do
                values[name] = field[name](own)
            end
        end
    end
    return values
end

local function inlet_of(number)
    local functions = {}
    for name, act in pairs(inlet_functions) do
        functions[name] = function(...) return act(number, ...) end
    end
    return setmetatable(functions, {
        __index = function(_, name)
            error('inlet does not have function "' .. tostring(name) .. '"', 2)
        end,
    })
end

return { find = find, own_of = own_of, whole = whole, inlet_of = inlet_of, field = field }
