-- Environment of a configuration file: settings, sync, default and the other names of the original.
-- It collects the declarations of the file; Rust reads them afterwards.
--
-- `host` has the functions in Rust: see host.rs. `load_scripts` adds the environment of scripts.

local host, load_scripts = ...

local error, ipairs, next, pairs, pcall = error, ipairs, next, pairs, pcall
local rawget, rawset, select, setmetatable = rawget, rawset, select, setmetatable
local tostring, type = tostring, type

-- Names of older Lua versions, for old configuration files.

unpack = table.unpack
loadstring = load
table.getn = function(list) return #list end
math.pow = function(base, exponent) return base ^ exponent end

-- The library of Lua 5.2 for 32-bit numbers.
local function low(number) return math.tointeger(number // 1) & 0xffffffff end

local function fold(start, act)
    return function(...)
        local bits = start
        for n = 1, select("#", ...) do bits = act(bits, low((select(n, ...)))) end
        return bits
    end
end

local function shift(number, by) return by < 0 and low(number) >> -by or low(low(number) << by) end

local function mask(width) return low((1 << (width or 1)) - 1) end

bit32 = {
    band = fold(0xffffffff, function(one, other) return one & other end),
    bor = fold(0, function(one, other) return one | other end),
    bxor = fold(0, function(one, other) return one ~ other end),
    bnot = function(number) return low(~low(number)) end,
    lshift = shift,
    rshift = function(number, by) return shift(number, -by) end,
    extract = function(number, at, width) return low(number) >> at & mask(width) end,
    replace = function(number, value, at, width)
        local bits = mask(width)
        return low(low(number) & ~(bits << at) | (low(value) & bits) << at)
    end,
}
bit32.btest = function(...) return bit32.band(...) ~= 0 end
bit32.lrotate = function(number, by)
    by = by % 32
    return low(low(number) << by | low(number) >> 32 - by)
end
bit32.rrotate = function(number, by) return bit32.lrotate(number, -by) end
bit32.arshift = function(number, by)
    if by <= 0 or low(number) < 0x80000000 then return shift(number, -by) end
    return low(shift(number, -by) | ~(0xffffffff >> math.min(by, 32)))
end

-- Pure Lua modules are found where distributions install them, for whatever version of Lua.
for _, version in ipairs { "5.4", "5.3", "5.1" } do
    for _, top in ipairs { "/usr/local/share/lua/", "/usr/share/lua/" } do
        local directory = top .. version
        if not package.path:find(directory .. "/?.lua", 1, true) then
            package.path = package.path .. ";" .. directory .. "/?.lua;" .. directory .. "/?/init.lua"
        end
    end
end

-- Additions of the original to Lua.

function string.starts(text, start) return text:sub(1, #start) == start end

function string.ends(text, ending) return ending == "" or text:sub(-#ending) == ending end

function table.contains(list, wanted)
    for _, value in pairs(list) do
        if value == wanted then return true end
    end
    return false
end

lsyncd_version = "2.3.1"
readdir = host.readdir

local syncs = {}
local scripts

local function shown(value)
    local kind = type(value)
    if scripts and scripts.is_stamp(value) then return "(Timestamp: " .. value.string .. ")" end
    if kind == "boolean" or kind == "nil" then return "(" .. tostring(value) .. ")" end
    if kind == "table" then return "(Table: " .. tostring(value):match("0x%x+") .. ")" end
    if kind == "function" then error("cannot log a function", 3) end
    return tostring(value)
end

function log(category, ...)
    local texts = {}
    for n = 1, select("#", ...) do texts[n] = shown((select(n, ...))) end
    host.log(category, table.concat(texts))
end

-- A value that is no exit code counts as an error: exit code 255, as in the original.
function terminate(code) host.exit(math.tointeger(tonumber(code)) or 255) end

os.exit = function(code)
    if code == nil or code == true then code = 0 elseif code == false then code = 1 end
    terminate(code)
end

function dump(value, indent)
    indent = indent or ""
    for key, inner in pairs(value) do
        print(indent .. tostring(key) .. " = " .. tostring(inner))
        if type(inner) == "table" then dump(inner, indent .. "  ") end
    end
end

debug = {
    getinfo = host.getinfo,
    traceback = function(message) return message end,
}

lsyncd = { log = log, terminate = terminate, readdir = readdir, realdir = host.realdir, dump = dump }

scripts = load_scripts(syncs)
for name, it in pairs(scripts.globals) do _G[name] = it end
for name, it in pairs(scripts.of_lsyncd) do lsyncd[name] = it end

-- Returns the position of a function on the stack in Lua's notation for messages. Level 1 is the
-- caller.
local function where(level)
    local _, text = pcall(error, "", level + 2)
    return text
end

-- Records an error. All errors are reported together at the end. `place` is the position of the
-- call; with `key` the line of that key is looked up.
local note = host.note

-- Returns the names of a table in a stable order.
local function names_of(config)
    local names = {}
    for name in pairs(config) do names[#names + 1] = name end
    table.sort(names, function(one, other) return tostring(one) < tostring(other) end)
    return names
end

-- settings

local values = {}

-- Positions of the settings: the position of the call, and the key as it is spelled there.
local value_places = {}

local function set(name, value, is_assigned)
    if type(name) == "table" then
        note(where(3), "settings takes names, not a table in a table: settings{ logfile = .. }")
        return
    elseif type(name) == "function" then
        note(where(3), "settings takes names, not a function: settings{ logfile = .. }")
        return
    end
    local hint = host.unknown("settings", name)
    if hint then
        note(where(3), 'setting "' .. tostring(name) .. '" unknown.' .. hint, tostring(name))
        return
    end
    local spelled = name
    if name == "statusIntervall" then name = "statusInterval" end
    values[name] = value
    value_places[name] = { place = where(3), key = not is_assigned and spelled or nil }
end

local function call_settings(_, given)
    if type(given) == "string" then return values[given] end
    if type(given) ~= "table" then error("settings takes a table: settings{ .. }", 2) end
    for _, name in ipairs(names_of(given)) do
        local value = given[name]
        if type(name) == "number" then set(value, true) else set(name, value) end
    end
end

local the_settings = setmetatable({}, {
    __call = call_settings,
    __index = values,
    __newindex = function(_, name, value) set(name, value, true) end,
})
settings = the_settings

-- The syntax before version 2.1 is refused: its settings would be ignored silently.
local function check_settings(blanks)
    if rawget(_G, "settings") ~= the_settings then
        host.doom("Do not use settings = { ... }\n"
            .. "      please use settings{ ... } (" .. blanks .. "without the equal sign" .. blanks .. ")")
    end
end

-- Inheritance of configurations. Existing values stay, tables are merged, lists are joined.

-- Position of the sync{} that is being declared.
local place = ""

local codes = { exitcodes = true, rsyncExitCodes = true, sshExitCodes = true }

local inherit

-- Tables that are being inherited. One of them in another would have no end.
local open = {}

-- The results of sync{}.
local inlets = {}

local function inherit_key(to, key, value)
    local there = to[key]
    if type(value) ~= "table" or key == "tunnel" then
        if there == nil then to[key] = value end
    elseif there == nil then
        to[key] = inherit({}, value, codes[key])
    elseif type(there) == "table" and value._merge ~= false then
        inherit(there, value, codes[key])
    end
end

function inherit(to, from, verbatim)
    if open[from] then error(place .. "a table contains itself", 0) end
    if inlets[from] then error(place .. "a sync{} stands in another sync{}", 0) end
    open[from] = true
    verbatim = verbatim or from._verbatim
    local only = from._merge
    for key, value in pairs(from) do
        local is_key = verbatim or math.type(key) ~= "integer"
        local is_wanted = type(only) ~= "table" or only[key]
        if is_key and is_wanted and key ~= "_merge" and key ~= "_verbatim" then
            inherit_key(to, key, value)
        end
    end
    for _, layer in ipairs(verbatim and {} or from) do
        if type(layer) == "table" then inherit(to, layer) else to[#to + 1] = layer end
    end
    open[from] = nil
    return to
end

-- Checks

-- True if the sync lacks a required setting, without which no more errors are looked for.
local is_lacking = false

local function fail(text, key) note(place, text, key) end

local function check_name(name, value, path, base)
    local full = path .. tostring(name)
    if math.type(name) == "integer" then
        local what = type(value) == "string" and 'the text "' .. value .. '"' or "a " .. type(value)
        fail("Parameter \"" .. full .. "\" unknown: " .. what
            .. " stands where a name belongs: write NAME = VALUE")
    elseif type(name) ~= "string" then
        fail("a " .. type(name) .. " stands where a name belongs: write NAME = VALUE")
    else
        local hint = host.unknown(path == "" and "sync" or path, name, base)
        fail('Parameter "' .. full
            .. '" unknown. ( if this is not a typo add it to checkgauge )' .. (hint or ""), full)
    end
end

local function check_names(config, gauge, path, base)
    for _, name in ipairs(names_of(config)) do
        local value, known = config[name], gauge[name]
        local full = path .. tostring(name)
        if not known then
            check_name(name, value, path, base)
        elseif type(known) == "table" then
            if type(value) == "table" then
                check_names(value, known, full .. ".", base)
            else
                is_lacking = true
                fail('Parameter "' .. full .. '" must be a table.', full)
            end
        end
    end
end

local function check(config, base)
    if config.checkgauge then check_names(config, config.checkgauge, "", base) end
end

local function need(config, base, name)
    if config[name] ~= nil then return end
    is_lacking = true
    fail("default." .. base .. ' needs "' .. name .. '" configured')
end

-- The defaults

local its = scripts.defaults

default = {
    action = its.own.action,
    collect = its.own.collect,
    init = its.own.init,
    full = its.own.full,
    checkgauge = host.gauge("own"),
    maxDelays = 1000,
    maxProcesses = 1,
    prepare = function(config) check(config, "own") end,
}

for _, base in ipairs { "rsync", "rsyncssh", "direct" } do
    default[base] = {
        action = its[base].action,
        collect = its[base].collect,
        init = its[base].init,
        full = its[base].full,
        checkgauge = host.gauge(base),
        delete = true,
        rsync = { binary = "rsync", links = true, times = true, protect_args = true },
    }
end

local rsync_codes = { _merge = false, _verbatim = true }
for code, class in pairs(host.rsync_codes) do rsync_codes[code] = class end

-- Without a trailing slash the target could be the name of a file.
local function add_slash(config, name)
    local target = config[name]
    if type(target) == "string" and target:find("[^/:]$") then config[name] = target .. "/" end
end

default.rsync.exitcodes = rsync_codes
default.rsync.prepare = function(config)
    check(config, "rsync")
    need(config, "rsync", "target")
    add_slash(config, "target")
end

default.rsyncssh.exitcodes = false
default.rsyncssh.rsyncExitCodes = rsync_codes
default.rsyncssh.sshExitCodes = { _merge = false, _verbatim = true, [0] = "ok", [255] = "again" }
default.rsyncssh.onMove = true
default.rsyncssh.ssh = { binary = "ssh", _extra = {} }
default.rsyncssh.prepare = function(config)
    check(config, "rsyncssh")
    need(config, "rsyncssh", "host")
    need(config, "rsyncssh", "targetdir")
    add_slash(config, "targetdir")
    -- A value below one counts as one.
    local most = tonumber(config.maxProcesses)
    if most == nil or most >= 2 then
        fail("default.rsyncssh must have maxProcesses set to 1.", "maxProcesses")
    end
end

default.direct.rsyncExitCodes = rsync_codes
default.direct.onMove = true
default.direct.prepare = function(config)
    check(config, "direct")
    need(config, "direct", "target")
    add_slash(config, "target")
end

-- Base of a sync: the default that is determined by its action, by its layers or by its prepare
-- function. `is_ours` tells our functions from the user's: a file may use single ones of a default.

local base_of = {}
for _, base in ipairs { "rsync", "rsyncssh", "direct" } do
    base_of[default[base].action] = base
    base_of[default[base].prepare] = base
    base_of[default[base]] = base
end

local function base_in(layers)
    for _, layer in ipairs(layers) do
        local base = base_of[layer] or type(layer) == "table" and base_in(layer)
        if base then return base end
    end
end

local function has_target(config, base)
    if base == "rsyncssh" then return config.host ~= nil and config.targetdir ~= nil end
    return config.target ~= nil
end

local is_ours = {}
for _, theirs in ipairs { default, default.rsync, default.rsyncssh, default.direct } do
    for _, value in pairs(theirs) do
        if type(value) == "function" then is_ours[value] = true end
    end
end

-- Returns true if functions of the user handle all or some of the events.
local function has_script(config, base)
    if base == "own" then return true end
    for _, name in ipairs { "action", "collect", "full", "init" } do
        local value = config[name]
        if type(value) == "function" and not is_ours[value] then return true end
    end
    return false
end

-- Returns true if they have a function for the startup, which makes up for all earlier changes.
local function has_beginning(config)
    local act = config.init
    if act == default.init then act = config.onStartup end
    return type(act) == "function"
end

local is_sealed = false

-- Values of the original's defaults, for scripts that read them. A sync does not inherit them:
-- without a delay it gets our own.

for base, its in pairs {
    rsync = { delay = 15 },
    rsyncssh = { delay = 15, maxProcesses = 1 },
    direct = { delay = 1, maxProcesses = 1 },
} do
    setmetatable(default[base], { __index = its })
end

local also = {
    rsyncExitCodes = rsync_codes,
    sshExitCodes = default.rsyncssh.sshExitCodes,
    statusInterval = 10,
}

local own_gauge = host.gauge("own")

-- Stands for a default that does not exist.
local unknown_default = {}

local function has_unknown_default(layers)
    for _, layer in ipairs(layers) do
        if layer == unknown_default then return true end
        if type(layer) == "table" and has_unknown_default(layer) then return true end
    end
    return false
end

setmetatable(default, {
    __index = function(_, name)
        local is_known = type(name) ~= "string" or name:sub(1, 1) == "_" or own_gauge[name]
        if also[name] ~= nil or is_known or is_sealed then return also[name] end
        note(where(2), "default." .. name .. " is unknown." .. host.unknown_default(name))
        return unknown_default
    end,
})

default._merge = {
    action = true, checkgauge = true, collect = true, delay = true, init = true,
    maxDelays = true, maxProcesses = true, prepare = true,
}

-- tunnel

local tunnels = {}

local function check_tunnel(given)
    local gauge = host.gauge("tunnel")
    for _, name in ipairs(names_of(given)) do
        if not gauge[name] then
            local hint = host.unknown("tunnel.", name)
            note(where(3), 'Parameter "' .. tostring(name) .. '" of tunnel unknown.' .. (hint or ""),
                tostring(name))
        end
    end
end

function tunnel(given)
    if is_sealed then error("Tunnel can only be created during initialization.", 2) end
    if type(given) ~= "table" then error("tunnel takes a table: tunnel{ command = {..}, .. }", 2) end
    check_tunnel(given)
    local made = {}
    for name, value in pairs(given) do made[name] = value end
    tunnels[#tunnels + 1] = made
    made._number, made._place = #tunnels, where(2)
    made.name = made.name or "Tunnel" .. #tunnels
    return made
end

lsyncd.tunnel = tunnel

-- sync

local function inherit_defaults(config)
    for _, name in ipairs { "action", "checkgauge", "collect", "delay", "init", "maxDelays", "maxProcesses", "prepare" } do
        if config[name] == nil then config[name] = default[name] end
    end
end

local function override(config)
    -- A value that is no number is reported at its own position.
    if tonumber(values.maxDelays) then config.maxDelays = values.maxDelays end
    -- A sync over ssh has its own limit.
    if tonumber(values.maxProcesses) and base_of[config.action] ~= "rsyncssh" then
        config.maxProcesses = values.maxProcesses
    end
    if host.delay then config.delay = host.delay end
end

function sync(given)
    if is_sealed then error("Sync can only be created during initialization.", 2) end
    if type(given) ~= "table" then error("sync takes a table: sync{ default.rsync, .. }", 2) end
    check_settings("")
    place = where(2)
    is_lacking = false
    open = {}
    local config = inherit({}, given)
    inherit_defaults(config)
    override(config)
    -- A sync on an unknown default is reported already.
    local is_lost = has_unknown_default(given)
    if type(config.prepare) == "function" and not is_lost then config.prepare(config, 4) end
    if config.source == nil then
        is_lacking = true
        host.refuse(place .. "source missing from sync.")
    else
        config._source = config.source
        config.source = host.source(config.source, place)
        if config.source == nil then is_lacking = true end
    end
    if not config.action then
        is_lacking = true
        host.refuse(place .. "no actions specified.")
    end
    local base = base_of[config.action] or base_in(given) or base_of[config.prepare]
    if not (base and has_target(config, base)) then base = "own" end
    local has_script = has_script(config, base)
    local has_failed = is_lost or is_lacking
    if has_script and not has_failed then scripts.translate(config, place) end
    local number = #syncs + 1
    if config.name == nil then config.name = "Sync" .. number end
    local inlet = scripts.inlet_of(number)
    inlets[inlet] = true
    syncs[number] = {
        config = config,
        base = base,
        place = place,
        inlet = inlet,
        has_script = has_script,
        begins = has_beginning(config),
        has_failed = has_failed,
        acts = type(config.action) == "function" and not is_ours[config.action],
    }
    return inlet
end

-- An undefined global is most often a text without its quotes. Modules may probe for names of other
-- Lua versions, and so may old configuration files.

local of_other_versions = { arg = true, bit = true, getfenv = true, jit = true, module = true,
    newproxy = true, setfenv = true }
local modules = 0

local load_module = require
function require(...)
    modules = modules + 1
    local found = table.pack(pcall(load_module, ...))
    modules = modules - 1
    if not found[1] then error(found[2], 0) end
    return table.unpack(found, 2, found.n)
end

setmetatable(_G, {
    __index = function(_, name)
        local is_wanted = type(name) == "string" and name:sub(1, 1) ~= "_"
        if is_wanted and modules == 0 and not of_other_versions[name] then
            host.missing(where(2), name)
        end
        return nil
    end,
})

-- From now on globals can be neither created nor missed.
local function seal()
    check_settings(" ")
    is_sealed = true
    setmetatable(_G, {
        __index = function(_, name)
            if name == "_" or type(name) == "string" and name:sub(1, 2) == "__" then return nil end
            error('Access of non-existing global "' .. tostring(name) .. '"', 2)
        end,
        __newindex = function(table, name, value)
            if name == "_" or type(name) == "string" and name:sub(1, 2) == "__" then
                return rawset(table, name, value)
            end
            error('Lsyncd does not allow GLOBALS to be created on the fly. Declare "'
                .. tostring(name) .. '" local or declare global on load.', 2)
        end,
    })
end

return { values = values, value_places = value_places, syncs = syncs, tunnels = tunnels, seal = seal }
