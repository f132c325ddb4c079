-- Keeps each image of a directory in several formats: when photo.png is saved, photo.jpg is created
-- next to it, and vice versa. Images that exist at startup are not converted.
--
-- Shows:
--   - a custom action that takes many events at once, and converts a file once for all its events
--   - a script that writes to the tree it watches. Each output file is excluded before the
--     conversion starts; otherwise the two formats would trigger each other in an endless loop
-- Try:
--   SOURCE=/tmp/images lsyncd -nodaemon examples/image-conversion.lua
-- Settings (environment variables):
--   SOURCE   directory with the images
--   DELAY    seconds from a change to the conversion
--   SUBDIRS  "no" to ignore subdirectories
--   CONVERT  program to call with the input file and the output file
-- Requires: ImageMagick, or another program for CONVERT.

local source = os.getenv("SOURCE") or "/tmp/images"
local convert = os.getenv("CONVERT") or "convert"

local formats = { "png", "jpg" }

-- Maximum number of images per shell process.
local most = 50

-- Seconds after a conversion during which events of its output files may still arrive.
local aftermath = 2

-- Returns the paths of the image in the other formats, or nil if the event is not about a new or
-- modified image.
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

-- Returns the exclude pattern that matches only this path.
local function exactly(path)
    if path:find("[%[*?]") then path = path:gsub("[%[*?\\]", "\\%0") end
    return "/" .. path
end

local inlet

-- Reference counts of the excluded paths: the number of conversions that have not released them.
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

-- Output files of the running conversion.
local making = {}

inlet = sync {
    source  = source,
    subdirs = os.getenv("SUBDIRS") ~= "no",
    -- Combines all events of one save into one conversion.
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
        -- A failed conversion does not affect the others.
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
