-- Replacements for functions with side effects, for a file that is only checked. Each records the
-- attempt and reports success, so that the file runs on.

local note = ...

local open, popen, output = io.open, io.popen, io.output

function os.execute(command)
    if command == nil then return true end
    note("os.execute", command)
    return true, "exit", 0
end

function os.remove(path)
    note("os.remove", path)
    return true
end

function os.rename(from)
    note("os.rename", from)
    return true
end

-- Written data is discarded.
function io.open(path, mode)
    if mode == nil or mode:match("^rb?$") then return open(path, mode) end
    note("io.open", path)
    return open("/dev/null", "w")
end

function io.output(file)
    if type(file) ~= "string" then return output(file) end
    note("io.output", file)
    return output("/dev/null")
end

function io.popen(command, mode)
    if mode == nil or mode:match("^r") then return popen(command, mode) end
    note("io.popen", command)
    return open("/dev/null", "w")
end
