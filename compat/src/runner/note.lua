-- For the scripts of cases: a function that appends its arguments as a line to `notes`.

local function format(value)
    -- All versions of Lua format a number alike.
    if type(value) == "number" and value == math.floor(value) then return ("%d"):format(value) end
    return tostring(value)
end

return function(...)
    local values = {}
    for n = 1, select("#", ...) do values[n] = format((select(n, ...))) end
    local notes = assert(io.open("@/notes", "a"))
    notes:write(table.concat(values, " "), "\n")
    notes:close()
end
