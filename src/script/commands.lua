-- Children of scripts: spawn and spawnShell, and commands that are written as texts.
--
-- Values never become part of the text that a shell parses: they are passed as arguments.

local host, events = ...

local error, ipairs, log, select, tostring, type = error, ipairs, log, select, tostring, type

-- The agents of running children, by job number.
local agents = {}

-- The arguments of a program: `nil` is skipped, a table is expanded by one level.
local function words_of(given, count, position)
    local words = {}
    local function add(value)
        if type(value) == "number" or type(value) == "string" then
            words[#words + 1] = math.type(value) == "float" and ("%.14g"):format(value) or tostring(value)
        elseif value ~= nil then
            error("spawn: a word of the program is a " .. type(value), position + 2)
        end
    end
    for n = 1, count do
        local value = given[n]
        if type(value) == "table" then
            for _, inner in ipairs(value) do add(inner) end
        else
            add(value)
        end
    end
    return words
end

-- `is_piped`: the first argument is `<`, and the second the standard input of the child.
local function start(agent, binary, is_piped, position, ...)
    if agent == nil or type(agent) ~= "table" then error("spawning with an invalid agent", position) end
    local own = events.own_of(agent)
    if not own then error("spawning with an unknown agent", position) end
    if type(binary) ~= "string" then
        error("calling spawn(agent, binary, ...): binary is not a string", position)
    end
    local given, count, stdin = { ... }, select("#", ...), nil
    if is_piped then
        stdin = given[2]
        if type(stdin) ~= "string" then error("spawn: what is to be piped is not a text", position) end
        given = { select(3, ...) }
        count = count - 2
    end
    local words = words_of(given, count, position)
    local job, why = host.spawn(own.number, own.ids or own.id, binary, words, stdin)
    if job then
        agents[job] = events.whole(agent)
    elseif why == "now" then
        log("Normal", "ignored process spawning while fading")
    elseif why == "many" then
        error("Spawned too much processes!", position)
    else
        error("spawn() called on an non-waiting event" .. (own.ids and " list" or ""), position)
    end
end

local function spawn(agent, binary, ...) start(agent, binary, (...) == "<", 3, ...) end

local function spawn_shell(agent, command, ...)
    start(agent, "sh", false, 3, "-c", command, "sh", ...)
end

-- Text commands. The order of the names is that in which the original numbers them.

local names = {
    "pathname", "pathdir", "path",
    "sourcePathname", "sourcePathdir", "sourcePath", "source",
    "targetPathname", "targetPathdir", "targetPath", "target",
}

-- The variables: the name after the `^`, and the value for an event and for the event of its new
-- name.
local variables = {}
for _, front in ipairs { "", "o.", "d." } do
    for _, name in ipairs(names) do
        local is_of_target = name:find("^target") ~= nil
        variables[#variables + 1] = {
            text = "^" .. front .. name,
            value = function(event, to)
                if front == "d." then event = to end
                if event == nil then error("^d. is there for onMove only", 0) end
                if is_of_target and event.target == nil then
                    error("^" .. front .. name .. ": the sync has no target", 0)
                end
                return event[name]
            end,
        }
    end
end

-- Finds the longest variable that begins at `at`.
local function variable_at(text, at)
    local found
    for _, variable in ipairs(variables) do
        if text:sub(at, at + #variable.text - 1) == variable.text
            and (not found or #variable.text > #found.text) then
            found = variable
        end
    end
    return found
end

-- Splits a text into literal parts and variables.
local function parts_of(text)
    local parts, from, at = {}, 1, 1
    while true do
        at = text:find("^", at, true)
        local variable = at and variable_at(text, at)
        if not at then break end
        if variable then
            parts[#parts + 1] = text:sub(from, at - 1)
            parts[#parts + 1] = variable
            from = at + #variable.text
            at = from
        else
            at = at + 1
        end
    end
    parts[#parts + 1] = text:sub(from)
    return parts
end

-- Replaces the variables by their values, for a message or an argument of a program.
local function filled(parts, value)
    local texts = {}
    for n, part in ipairs(parts) do
        texts[n] = type(part) == "table" and value(part) or part
    end
    return table.concat(texts)
end

-- Splits a text into a program and its arguments. Quotes protect blanks, and are kept.
local function split(text)
    local words, word, in_quotes = {}, {}, false
    for char in text:gmatch(".") do
        if char == '"' then in_quotes = not in_quotes end
        if char:find("%s") and not in_quotes then
            if #word > 0 then words[#words + 1] = table.concat(word) end
            word = {}
        else
            word[#word + 1] = char
        end
    end
    if #word > 0 then words[#words + 1] = table.concat(word) end
    return words
end

local function binary_form(text)
    local words = {}
    for n, word in ipairs(split(text)) do words[n] = parts_of(word) end
    -- A file may be named `<`.
    local is_piped = words[2] ~= nil and #words[2] == 1 and words[2][1] == "<"
    return function(event, to)
        log("Normal", "Event ", event.etype, ' spawns action "', text, '"')
        local value = function(variable) return variable.value(event, to) end
        local given = {}
        for n, parts in ipairs(words) do given[n] = filled(parts, value) end
        start(event, given[1], is_piped, 3, table.unpack(given, 2))
    end
end

-- Minimal parser of shell code: it decides whether a blank in a value splits a word. `stack` holds
-- the open constructs: `"`, `'`, `(`, a backquote, or `case`, whose patterns end in a `)`.
local Shell = {}
Shell.__index = Shell

function Shell.new() return setmetatable({ stack = {}, before = " " }, Shell) end

function Shell:top() return self.stack[#self.stack] end

function Shell:toggle(what)
    if self:top() == what then table.remove(self.stack) else table.insert(self.stack, what) end
end

-- Returns true if this keyword begins here. A plain argument, as in `echo case`, is taken for one:
-- then something seems to be open at the end, and a warning is logged.
function Shell:begins(text, at, word)
    return self.before:find("[%s;&|(]") and text:find("^" .. word .. "%f[^%w_]", at)
end

function Shell:read(text)
    local at = 1
    while at <= #text do
        local char, top = text:sub(at, at), self:top()
        if top == "#" then
            if char == "\n" then table.remove(self.stack) end
        elseif top == "'" then
            if char == "'" then table.remove(self.stack) end
        elseif char == "\\" then
            -- An escaped character is part of a word; an escaped newline continues the line.
            at = at + 1
            char = text:sub(at, at) == "\n" and self.before or "x"
        elseif char == '"' or char == "`" then
            self:toggle(char)
        elseif char == "(" and (top ~= '"' or self.before == "$") then
            table.insert(self.stack, "(")
        elseif top == '"' then
            -- Nothing else is special here.
        elseif char == "'" then
            table.insert(self.stack, "'")
        elseif char == ")" and top == "(" then
            table.remove(self.stack)
        elseif char == "c" and (top == "(" or top == "case") and self:begins(text, at, "case") then
            table.insert(self.stack, "case")
        elseif char == "e" and top == "case" and self:begins(text, at, "esac") then
            table.remove(self.stack)
        elseif char == "#" and self.before:find("[%s;&|(]") then
            table.insert(self.stack, "#")
        end
        self.before = char
        at = at + 1
    end
end

-- Returns true if every construct is closed. Otherwise the code was not understood, as after a
-- single quote in a here document.
function Shell:is_closed() return self:top() == nil or self:top() == "#" and #self.stack == 1 end

-- Returns the shell expression for a value at this position.
function Shell:named(n)
    local name = n < 10 and "$" .. n or "${" .. n .. "}"
    if self:top() == '"' then return "${" .. n .. "}" end
    return '"' .. name .. '"'
end

local function used_in(parts)
    local is_used, used = {}, {}
    for _, part in ipairs(parts) do is_used[part] = true end
    for _, variable in ipairs(variables) do
        if is_used[variable] then
            used[#used + 1] = variable
            is_used[variable] = #used
        end
    end
    return used, is_used
end

local function shell_form(text, said_at)
    local parts = parts_of(text)
    local used, number_of = used_in(parts)
    local shell, code = Shell.new(), {}
    for n, part in ipairs(parts) do
        if type(part) == "table" then
            if shell:top() == "'" then
                log("Warn", said_at, part.text, " inside single quotes does not",
                    " become the name: a shell reads what they enclose as it stands")
            end
            code[n] = shell:named(number_of[part])
            shell.before = "x"
        else
            shell:read(part)
            code[n] = part
        end
    end
    if #used > 0 and not shell:is_closed() then
        log("Warn", said_at, "a quote or bracket seems to be open at the end of the command:",
            " names that stand in quotes may be cut at their blanks")
    end
    code = table.concat(code)
    return function(event, to)
        local values, shown = {}, {}
        for n, variable in ipairs(used) do
            values[n] = variable.value(event, to)
            shown[variable] = host.escaped(values[n])
        end
        local said = filled(parts, function(variable) return shown[variable] end)
        log("Normal", "Event ", event.etype, ' spawns shell "', said, '"')
        spawn_shell(event, code, table.unpack(values, 1, #used))
    end
end

-- Returns the function for a text command. `said_at` is its position, for messages.
local function translate(text, said_at)
    text = text:match("^%s*(.-)%s*$")
    if text:sub(1, 1) == "/" then return binary_form(text) end
    if text:sub(1, 1) == "^" and not variable_at(text, 1) then text = text:sub(2) end
    return shell_form(text, said_at)
end

return { spawn = spawn, spawn_shell = spawn_shell, translate = translate, agents = agents }
