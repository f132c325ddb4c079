-- Runtime of scripts, and the functions that the daemon calls.
--
-- `host` holds the functions implemented in Rust, `syncs` the syncs of the file by their numbers,
-- and `chunk` loads the other files of this directory.

local host, syncs, chunk = ...

local error, ipairs, log, pairs, tostring, type = error, ipairs, log, pairs, tostring, type

local events = chunk("events")(host, syncs)
local times = chunk("times")(host)
local commands = chunk("commands")(host, events)
host.agents = commands.agents
local defaults = chunk("defaults")(host, syncs, events)

-- Functions called by the daemon, one at a time.

local calls = { ring = times.ring, ready = times.ready }

function calls.init(number, id)
    local act = syncs[number].config.init
    if type(act) == "function" then act((events.find(number, id))) else host.discard(number, id) end
end

function calls.full(number, id) syncs[number].config.full((events.find(number, id))) end

function calls.action(number)
    local sync = syncs[number]
    if type(sync.config.action) ~= "function" then error("action is not a function", 0) end
    sync.config.action(sync.inlet)
end

function calls.collect(number, job, code)
    local agent, act = commands.agents[job], syncs[number].config.collect
    commands.agents[job] = nil
    if type(act) ~= "function" then return end
    local answer = act(agent, code)
    if answer == "die" and not events.own_of(agent).is_told then log("Error", "Critical exitcode.") end
    return answer
end

function calls.forget(job) commands.agents[job] = nil end

-- A batch is on the target; `names` are its paths. Returns the error message if the function
-- reports a failure.
function calls.synced(number, names)
    local config = syncs[number].config
    local is_fine, why = config.onSynced(names, config)
    if is_fine == false then return tostring(why or "the function returned false") end
end

-- Replaces the text commands of a sync by functions. `place` is its position, for messages.
local function translate(config, place)
    for _, name in ipairs { "onAttrib", "onCreate", "onDelete", "onModify", "onMove", "onStartup" } do
        local value = config[name]
        if type(value) == "string" then config[name] = commands.translate(value, place .. name .. ": ") end
    end
end

local globals = {
    spawn = commands.spawn,
    spawnShell = commands.spawn_shell,
    alarm = times.alarm,
    now = times.now,
    observefd = times.observefd,
    nonobservefd = times.nonobservefd,
}
for name, it in pairs(chunk("extras")()) do globals[name] = it end

local of_lsyncd = {
    now = times.now,
    observe_fd = times.observefd,
    nonobserve_fd = times.nonobservefd,
    get_file_size = host.file_size,
    get_free_port = host.free_port,
    get_process_info = function() return host.running(), nil end,
    kill = host.kill,
    splitQuotedString = globals.splitQuotedString,
}
for name, it in pairs(globals) do of_lsyncd[name] = of_lsyncd[name] or it end
globals.splitQuotedString = nil

return {
    calls = calls,
    defaults = defaults,
    globals = globals,
    of_lsyncd = of_lsyncd,
    inlet_of = events.inlet_of,
    is_stamp = times.is_stamp,
    translate = translate,
}
