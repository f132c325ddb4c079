-- Alarms of scripts and descriptors that scripts observe.

local host = ...

local error, getmetatable, ipairs, rawget, setmetatable = error, getmetatable, ipairs, rawget, setmetatable
local tonumber, tostring, type, xpcall = tonumber, tostring, type, xpcall

-- Timestamps count the ticks of `times(2)`, as in the original.

local stamp_meta = { __name = "timestamp" }

local function stamp(ticks) return setmetatable({ ticks = ticks }, stamp_meta) end

local function is_stamp(value) return getmetatable(value) == stamp_meta end

local function seconds_of(value, position)
    local seconds = tonumber(value)
    if not seconds then error("a timestamp and a " .. type(value) .. " do not go together", position + 1) end
    return seconds
end

function stamp_meta.__add(one, other)
    if is_stamp(one) and is_stamp(other) then error("two timestamps cannot be added", 2) end
    if is_stamp(other) then one, other = other, one end
    return stamp(one.ticks + seconds_of(other, 2) * host.ticks_per_second)
end

function stamp_meta.__sub(one, other)
    if not is_stamp(one) then error("a timestamp cannot be taken from a " .. type(one), 2) end
    if is_stamp(other) then return (one.ticks - other.ticks) / host.ticks_per_second end
    return stamp(one.ticks - seconds_of(other, 2) * host.ticks_per_second)
end

local function both(one, other)
    if not (is_stamp(one) and is_stamp(other)) then
        error("a timestamp can be compared with a timestamp only", 3)
    end
    return one.ticks, other.ticks
end

function stamp_meta.__lt(one, other)
    one, other = both(one, other)
    return one < other
end

function stamp_meta.__le(one, other)
    one, other = both(one, other)
    return one <= other
end

function stamp_meta.__eq(one, other) return one.ticks == other.ticks end

function stamp_meta.__concat(one, other)
    local function text(value) return is_stamp(value) and ("%f"):format(value.ticks) or tostring(value) end
    return text(one) .. text(other)
end

function stamp_meta.__index(it, name)
    local seconds = rawget(it, "ticks") // host.ticks_per_second
    if name == "seconds" then return math.tointeger(seconds) end
    if name == "string" then return tostring(math.tointeger(seconds)) end
end

local function now() return stamp(host.ticks()) end

-- Alarms are kept in a heap: the earliest first, those of one time in the order in which they were
-- set.

local alarms, count_set = {}, 0

local function is_before(one, other)
    if one.due ~= other.due then return one.due < other.due end
    return one.number < other.number
end

local function push(it)
    local place = #alarms + 1
    while place > 1 and is_before(it, alarms[place // 2]) do
        alarms[place] = alarms[place // 2]
        place = place // 2
    end
    alarms[place] = it
end

local function pop()
    local first, it = alarms[1], alarms[#alarms]
    alarms[#alarms] = nil
    local place, size = 1, #alarms
    while place * 2 <= size do
        local next = place * 2
        if next < size and is_before(alarms[next + 1], alarms[next]) then next = next + 1 end
        if is_before(it, alarms[next]) then break end
        alarms[place] = alarms[next]
        place = next
    end
    if size > 0 then alarms[place] = it end
    return first
end

-- While alarms are called: the earliest time of alarms that are set meanwhile. An alarm that renews
-- itself for the current time would use a whole CPU.
local earliest

local function wake() host.wake_at(alarms[1] and alarms[1].due) end

local function alarm(at, act, extra)
    if not is_stamp(at) then error("alarm takes a timestamp, a function and a value for it", 2) end
    -- A NaN would never be reached, yet the next wake-up would always be due.
    if at.ticks ~= at.ticks then error("alarm: the time is not a number", 2) end
    if type(act) ~= "function" then error("alarm: what is to be called is not a function", 2) end
    count_set = count_set + 1
    push { due = math.max(at.ticks, earliest or at.ticks), number = count_set, at = at, act = act, extra = extra }
    wake()
end

-- Calls each due alarm once; alarms set meanwhile are called the next time. Returns the errors as a
-- text.
local function ring()
    local time = host.ticks()
    local due = {}
    while alarms[1] and alarms[1].due <= time do due[#due + 1] = pop() end
    wake()
    earliest = time + host.ticks_per_second // 100
    local failed = {}
    for _, it in ipairs(due) do
        if host.ends() then break end
        local is_fine, why = xpcall(it.act, host.traced, it.at, it.extra)
        if not is_fine then failed[#failed + 1] = why end
    end
    earliest = nil
    return failed[1] and table.concat(failed, "\n")
end

-- Descriptors

local observed = {}

local function observefd(fd, ready, writey)
    fd = math.tointeger(fd)
    if not fd then error("observefd takes the number of a descriptor", 2) end
    for _, act in ipairs { ready or nil, writey or nil } do
        if type(act) ~= "function" then error("observefd takes functions", 2) end
    end
    host.observe(fd, ready and true or false, writey and true or false)
    observed[fd] = { ready = ready, writey = writey }
end

local function nonobservefd(fd)
    fd = math.tointeger(fd)
    if not (fd and observed[fd]) then error("this descriptor is not observed", 2) end
    observed[fd] = nil
    host.forget(fd)
end

-- A descriptor is ready. It may have been forgotten meanwhile.
local function ready(fd, what)
    local it = observed[fd]
    if it and it[what] then it[what](fd) end
end

return {
    now = now, alarm = alarm, ring = ring, is_stamp = is_stamp,
    observefd = observefd, nonobservefd = nonobservefd, ready = ready,
}
