-- Keeps each image of a directory in several formats: who saves photo.png finds photo.jpg beside it, and
-- the other way round.
--
-- What to learn from it: an action of your own, which takes many events at once and knows which of them are
-- about one file; and how a script works in the very tree that it watches. What a program is about to
-- write is excluded before it starts; else one image would be made from the other without an end.
-- Images that are there at the start are left as they are.
--
-- To try it:    SOURCE=/tmp/images lsyncd -nodaemon examples/image-conversion.lua
-- To change:    the formats. SOURCE; DELAY; SUBDIRS=no for the directory alone; CONVERT, which is called with
--               the image that is there and the one that is to be made.
-- It needs:     ImageMagick, or any other program for CONVERT.

local source = os.getenv("SOURCE") or "/tmp/images"
local convert = os.getenv("CONVERT") or "convert"

local formats = { "png", "jpg" }

-- How many images are converted by one call of the shell.
local most = 50

-- How long after that news of what it wrote may come, in seconds.
local aftermath = 2

-- The images that belong to the one that an event is about; nothing if there is none.
local function siblings(event)
    if event.isdir or event.etype ~= "Create" and event.etype ~= "Modify" then return nil end
    local stem, suffix = event.path:match("^(.*[^/])%.(%w+)$")
    if not stem or not table.contains(formats, suffix:lower()) then return nil end
    local paths = {}
    for _, format in ipairs(formats) do
        if format ~= suffix:lower() then paths[#paths + 1] = stem .. "." .. format end
    end
    return paths
end

-- The pattern that means this path and no other.
local function exactly(path)
    if path:find("[%[*?]") then path = path:gsub("[%[*?\\]", "\\%0") end
    return "/" .. path
end

local inlet

-- How many have excluded a path and not yet released it.
local holders = {}

local function hold(path)
    if not holders[path] then inlet.addExclude(exactly(path)) end
    holders[path] = (holders[path] or 0) + 1
end

local function release(path)
    holders[path] = holders[path] - 1
    if holders[path] > 0 then return end
    holders[path] = nil
    inlet.rmExclude(exactly(path))
end

-- What is being made.
local making = {}

inlet = sync {
    source  = source,
    subdirs = os.getenv("SUBDIRS") ~= "no",
    -- So that what comes of one saving is one conversion.
    delay   = tonumber(os.getenv("DELAY") or 1),

    action = function()
        local first = inlet.getEvent()
        if not siblings(first) then
            inlet.discardEvent(first)
            return
        end
        local words, is_known, count = {}, {}, 0
        making = {}
        local events = inlet.getEvents(function(event)
            local paths = not is_known[event.path] and siblings(event)
            if not paths then return true end
            if count == most then return "break" end
            count = count + 1
            is_known[event.path] = true
            for _, path in ipairs(paths) do
                making[#making + 1] = path
                words[#words + 1] = "./" .. event.path
                words[#words + 1] = "./" .. path
            end
            return true
        end)
        for _, path in ipairs(making) do hold(path) end
        -- What can't be converted leaves the others as they are.
        spawnShell(events, [[
            cd "$1" && convert=$2 && shift 2 || exit
            while [ $# -gt 0 ]; do
                "$convert" "$1" "$2" || echo "$1 is not converted" >&2
                shift 2
            done
        ]], source, convert, words)
    end,

    collect = function()
        alarm(now() + aftermath, function(_, paths)
            for _, path in ipairs(paths) do release(path) end
        end, making)
    end,
}
