-- Utilities of the original that scripts use.

local ipairs, setmetatable, tostring, type = ipairs, setmetatable, tostring, type

-- Splits a text into words; quotes protect blanks, and are removed.
local function split_quoted(text)
    local words, word, quote = {}, nil, nil
    for char in text:gmatch(".") do
        if quote then
            if char == quote then quote = nil else word = word .. char end
        elseif char == '"' or char == "'" then
            quote, word = char, word or ""
        elseif char:find("%s") then
            if word then words[#words + 1] = word end
            word = nil
        else
            word = (word or "") .. char
        end
    end
    if word then words[#words + 1] = word end
    return words
end

-- Replaces `^name` by the value of that name, in a text or a list of texts.
local function substitude(command, values)
    if type(command) == "table" then
        local texts = {}
        for n, text in ipairs(command) do texts[n] = substitude(text, values) end
        return texts
    end
    return (command:gsub("%^(%w+)", function(name)
        local value = values[name]
        return value ~= nil and tostring(value) or nil
    end))
end

-- FIFO queue; `inject` adds an item at the front.
local Queue = {}
Queue.__index = Queue

function Queue.new() return setmetatable({ first = 1, last = 0, items = {}, count = 0 }, Queue) end

function Queue:push(item)
    self.last = self.last + 1
    self.items[self.last] = item
    self.count = self.count + 1
    return self.last
end

function Queue:inject(item)
    self.first = self.first - 1
    self.items[self.first] = item
    self.count = self.count + 1
    return self.first
end

function Queue:remove(place)
    if self.items[place] == nil then return end
    self.items[place] = nil
    self.count = self.count - 1
    while self.first <= self.last and self.items[self.first] == nil do self.first = self.first + 1 end
    while self.last >= self.first and self.items[self.last] == nil do self.last = self.last - 1 end
end

function Queue:size() return self.count end

function Queue:qpairs()
    local place = self.first - 1
    return function()
        repeat place = place + 1 until place > self.last or self.items[place] ~= nil
        if place <= self.last then return place, self.items[place] end
    end
end

return { Queue = Queue, splitQuotedString = split_quoted, substitudeCommands = substitude }
