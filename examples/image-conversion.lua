-- Keeps each image of a directory in several formats: who saves photo.png finds photo.jpg beside it, and
-- the other way round.
--
-- What to learn from it: an action of your own, which takes all that waits for one file together, and how
-- a script works in the very tree that it watches. What a program is about to write is excluded before it
-- starts; else one image would be made from the other without an end.
--
-- To try it:    SOURCE=/tmp/images lsyncd -nodaemon examples/image-conversion.lua
-- To change:    the formats. SOURCE; SUBDIRS=no for the directory alone; CONVERT, which is called with the
--               image that is there and the one that is to be made.
-- It needs:     ImageMagick, or any other program for CONVERT.

local source = os.getenv("SOURCE") or "/tmp/images"
local convert = os.getenv("CONVERT") or "convert"
local subdirs = os.getenv("SUBDIRS") ~= "no"

local formats = { "png", "jpg" }

-- How long after a program has ended news of what it wrote may come, in seconds.
local aftermath = 2

-- The images that belong to one with this path; nothing if it is none.
local function siblings(path)
    local stem, suffix = path:match("^(.*[^/])%.(%w+)$")
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

-- How many have excluded a path and not yet released it.
local holders = {}

local function hold(inlet, path)
    if not holders[path] then inlet.addExclude(exactly(path)) end
    holders[path] = (holders[path] or 0) + 1
end

local function release(inlet, path)
    holders[path] = holders[path] - 1
    if holders[path] > 0 then return end
    holders[path] = nil
    inlet.rmExclude(exactly(path))
end

-- What is to be done after the conversion of an image, by its path.
local afterwards = {}

sync {
    source  = source,
    subdirs = subdirs,
    -- So that what comes of one saving is one conversion.
    delay   = tonumber(os.getenv("DELAY") or 1),

    action = function(inlet)
        local event = inlet.getEvent()
        local image = event.pathname
        local is_new = event.etype == "Create" or event.etype == "Modify"
        local images = is_new and not event.isdir and siblings(image)
        if not images then
            inlet.discardEvent(event)
            return
        end
        for _, path in ipairs(images) do hold(inlet, path) end
        afterwards[image] = function()
            for _, path in ipairs(images) do release(inlet, path) end
        end
        -- A new file was created and modified: that is one image.
        local events = inlet.getEvents(function(other) return other.pathname == image end)
        spawnShell(
            events,
            [[cd "$1" && convert=$2 image=$3 && shift 3 || exit
              for path; do "$convert" "./$image" "./$path" || exit; done]],
            source, convert, image, images
        )
    end,

    collect = function(events, exitcode)
        local image = events.getPaths()[1]:sub(2)
        if exitcode ~= 0 then
            log("Error", convert, " ended with ", exitcode, " for ", image)
        end
        alarm(now() + aftermath, afterwards[image])
        afterwards[image] = nil
    end,
}
