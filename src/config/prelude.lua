-- What a configuration file finds when it runs: settings, sync, default and the rest of the
-- original's names. It gathers what the file says; Rust reads it afterwards.
--
-- `host` has what only Rust can do: see host.rs. `load_scripts` adds what scripts can do.

local host, load_scripts = ...

local error, ipairs, next, pairs, pcall = error, ipairs, next, pairs, pcall
local rawget, rawset, select, setmetatable = rawget, rawset, select, setmetatable
local tostring, type = tostring, type

-- What older versions of Lua had, since files are older than this program.

unpack = table.unpack
loadstring = load
table.getn = function(list) return #list end
math.pow = function(base, exponent) return base ^ exponent end

-- What the original adds to Lua.

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

-- What is no code is an error, with which the original ends, too.
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

-- The position of a function on the stack, as Lua writes it in front of a message: 1 is who calls.
local function where(level)
    local _, text = pcall(error, "", level + 2)
    return text
end

-- settings

local values = {}

local function set(name, value)
    local hint = host.unknown("settings", name)
    if hint then error('setting "' .. tostring(name) .. '" unknown.' .. hint, 3) end
    if name == "statusIntervall" then name = "statusInterval" end
    values[name] = value
end

local function call_settings(_, given)
    if type(given) == "string" then return values[given] end
    if type(given) ~= "table" then error("settings takes a table: settings{ .. }", 2) end
    for name, value in pairs(given) do
        if type(name) == "number" then set(value, true) else set(name, value) end
    end
end

local the_settings = setmetatable({}, {
    __call = call_settings,
    __index = values,
    __newindex = function(_, name, value) set(name, value) end,
})
settings = the_settings

-- What was written before version 2.1 is told, since it would be lost in silence.
local function check_settings(blanks)
    if rawget(_G, "settings") ~= the_settings then
        host.doom("Do not use settings = { ... }\n"
            .. "      please use settings{ ... } (" .. blanks .. "without the equal sign" .. blanks .. ")")
    end
end

-- Where one configuration inherits from another. What is there already stays; tables are merged,
-- lists are joined.

local codes = { exitcodes = true, rsyncExitCodes = true, sshExitCodes = true }

local inherit

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
    verbatim = verbatim or from._verbatim
    local only = from._merge
    for key, value in pairs(from) do
        local is_key = verbatim or math.type(key) ~= "integer"
        local is_wanted = type(only) ~= "table" or only[key]
        if is_key and is_wanted and key ~= "_merge" and key ~= "_verbatim" then
            inherit_key(to, key, value)
        end
    end
    if verbatim then return to end
    for _, layer in ipairs(from) do
        if type(layer) == "table" then inherit(to, layer) else to[#to + 1] = layer end
    end
    return to
end

-- Checks

-- The position of the sync{} that is being made.
local place = ""

local function fail(text) error(place .. text, 0) end

local function check_names(config, gauge, path)
    for name, value in pairs(config) do
        local known = gauge[name]
        local full = path .. tostring(name)
        if not known then
            local hint = host.unknown(path == "" and "sync" or path, name, place)
            error('Parameter "' .. full
                .. '" unknown. ( if this is not a typo add it to checkgauge )' .. (hint or ""), 0)
        end
        if type(known) == "table" then
            if type(value) ~= "table" then error('Parameter "' .. full .. '" must be a table.', 0) end
            check_names(value, known, full .. ".")
        end
    end
end

local function check(config)
    if config.checkgauge then check_names(config, config.checkgauge, "") end
end

local function need(config, base, name)
    if config[name] == nil then fail("default." .. base .. ' needs "' .. name .. '" configured') end
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
    prepare = function(config) check(config) end,
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

-- What has no slash at its end could be the name of a file.
local function add_slash(config, name)
    local target = config[name]
    if type(target) == "string" and target:find("[^/:]$") then config[name] = target .. "/" end
end

default.rsync.exitcodes = rsync_codes
default.rsync.prepare = function(config)
    check(config)
    need(config, "rsync", "target")
    add_slash(config, "target")
end

default.rsyncssh.exitcodes = false
default.rsyncssh.rsyncExitCodes = rsync_codes
default.rsyncssh.sshExitCodes = { _merge = false, _verbatim = true, [0] = "ok", [255] = "again" }
default.rsyncssh.onMove = true
default.rsyncssh.ssh = { binary = "ssh" }
default.rsyncssh.prepare = function(config)
    check(config)
    need(config, "rsyncssh", "host")
    need(config, "rsyncssh", "targetdir")
    add_slash(config, "targetdir")
    if config.maxProcesses ~= 1 then fail("default.rsyncssh must have maxProcesses set to 1.") end
end

default.direct.rsyncExitCodes = rsync_codes
default.direct.onMove = true
default.direct.prepare = function(config)
    check(config)
    need(config, "direct", "target")
    add_slash(config, "target")
end

-- Which table of defaults a sync is based on: by its action, by what it inherits from, or by what prepares
-- it. And which functions are ours: a file may take single ones out of a default.

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

-- Whether the user's functions say what is done, all of it or some.
local function has_script(config, base)
    if base == "own" then return true end
    for _, name in ipairs { "action", "collect", "full", "init" } do
        local value = config[name]
        if type(value) == "function" and not is_ours[value] then return true end
    end
    return false
end

-- Whether they make up at the beginning for all that was before.
local function has_beginning(config)
    local act = config.init
    if act == default.init then act = config.onStartup end
    return type(act) == "function"
end

local is_sealed = false

-- tunnel

local tunnels = {}

local function check_tunnel(given)
    local gauge = host.gauge("tunnel")
    for name in pairs(given) do
        if not gauge[name] then
            local hint = host.unknown("tunnel.", name)
            error('Parameter "' .. tostring(name) .. '" of tunnel unknown.' .. (hint or ""), 3)
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
    if values.maxDelays then config.maxDelays = values.maxDelays end
    -- A sync by way of ssh has a limit of its own.
    if values.maxProcesses and base_of[config.action] ~= "rsyncssh" then
        config.maxProcesses = values.maxProcesses
    end
    if host.delay then config.delay = host.delay end
end

function sync(given)
    if is_sealed then error("Sync can only be created during initialization.", 2) end
    if type(given) ~= "table" then error("sync takes a table: sync{ default.rsync, .. }", 2) end
    check_settings("")
    place = where(2)
    local config = inherit({}, given)
    inherit_defaults(config)
    override(config)
    if type(config.prepare) == "function" then config.prepare(config, 4) end
    if config.source == nil then host.doom(place .. "source missing from sync.") end
    config._source = config.source
    config.source = host.source(config.source)
    if not config.action then host.doom(place .. "no actions specified.") end
    local base = base_of[config.action] or base_in(given) or base_of[config.prepare]
    if not (base and has_target(config, base)) then base = "own" end
    local has_script = has_script(config, base)
    if has_script then scripts.translate(config, place) end
    local number = #syncs + 1
    if config.name == nil then config.name = "Sync" .. number end
    local inlet = scripts.inlet_of(number)
    syncs[number] = {
        config = config,
        base = base,
        place = place,
        inlet = inlet,
        has_script = has_script,
        begins = has_beginning(config),
    }
    return inlet
end

-- From now on globals can neither be made nor missed.
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

return { values = values, syncs = syncs, tunnels = tunnels, seal = seal }
