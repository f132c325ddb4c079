-- Uploads what changes, many files by one call, with a program that reads their names.
--
-- What to learn from it: an action of your own that takes many events at once; names on the standard
-- input of a program, where there may be any number of them; exit codes with a meaning; settings of
-- your own that are checked; and a layer that several syncs can share.
--
-- To try it:    SOURCE=/tmp/watched TARGET=remote:bucket lsyncd -nodaemon examples/batch-upload.lua
-- To change:    the words of the three calls, and what the exit codes mean. SOURCE, TARGET, DELAY; UPLOADER
--               for the program; SEPARATOR=nul if it wants a NUL behind each name, which stands any name,
--               rather than a new line.
-- It needs:     rclone, with a remote place that `rclone config` made; or any other program.

local source = os.getenv("SOURCE") or "/tmp/watched"
local target = os.getenv("TARGET") or "remote:bucket"
local separator = os.getenv("SEPARATOR") == "nul" and "\0" or "\n"

-- What can be said of a name in a list of lines.
local function fits(path)
    if separator == "\0" or not path:find("\n", 1, true) then return true end
    log("Warn", "a name with a line break is left out: ", path)
    return false
end

-- Directories as such are nothing on the other side.
local function is_nothing(event)
    return event.isdir and event.etype ~= "Delete" or event.etype == "Attrib"
end

local upload = {
    delay = tonumber(os.getenv("DELAY") or 5),

    -- Of rclone: 5 may pass, 1 is of a kind that it does not know, 3 and 4 are what is not there, and 9
    -- is nothing to be done.
    exitcodes = { [0] = "ok", [1] = "again", [3] = "ok", [4] = "ok", [5] = "again", [9] = "ok" },

    -- The settings that a sync with this layer may have, beside the usual ones.
    checkgauge = { default.checkgauge, uploader = true },

    prepare = function(config, level)
        default.prepare(config, level)
        if type(config.uploader) ~= "string" then error("the uploader is missing", level) end
        if not config.target then error("the target is missing", level) end
    end,

    -- All of the source at the start.
    init = function(event)
        local config = event.config
        spawn(event, config.uploader, "copy", config.source, config.target)
    end,

    action = function(inlet)
        local config = inlet.getConfig()
        local first = inlet.getEvent()
        if is_nothing(first) or not fits(first.path) then
            inlet.discardEvent(first)
            return
        end
        if first.isdir then
            spawn(first, config.uploader, "purge", config.target .. "/" .. first.pathname)
            return
        end
        -- What was written and what was deleted are two calls, in the order in which it happened.
        local is_delete = first.etype == "Delete"
        local events = inlet.getEvents(function(event)
            if event.isdir and event.etype == "Delete" then return "break" end
            if is_nothing(event) or not fits(event.path) then return false end
            return (event.etype == "Delete") == is_delete or "break"
        end)
        local names = events.getPaths(function(etype, path) return path:sub(2) .. separator end)
        local words = is_delete
            and { "delete", "--files-from-raw", "-", config.target }
            or { "copy", "--files-from-raw", "-", config.source, config.target }
        spawn(events, config.uploader, "<", table.concat(names), words)
    end,
}

sync {
    upload,
    source   = source,
    target   = target,
    uploader = os.getenv("UPLOADER") or "rclone",
}
