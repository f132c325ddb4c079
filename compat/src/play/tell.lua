-- For the scripts of cases: a function that writes what it is given as a line to `told`.

local function shown(value)
    -- A number looks alike in every version of Lua.
    if type(value) == "number" and value == math.floor(value) then return ("%d"):format(value) end
    return tostring(value)
end

return function(...)
    local words = {}
    for n = 1, select("#", ...) do words[n] = shown((select(n, ...))) end
    local told = assert(io.open("@/told", "a"))
    told:write(table.concat(words, " "), "\n")
    told:close()
end
