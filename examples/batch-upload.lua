-- Uploads changed files in batches, with a program that reads a list of file names.
--
-- Shows:
--   - a custom action that takes many events at once
--   - file names on standard input, where their number is not limited
--   - classes of exit codes
--   - a custom setting, and its validation
--   - a layer that several syncs can share
-- Try:
--   SOURCE=/tmp/watched TARGET=remote:bucket lsyncd -nodaemon examples/batch-upload.lua
-- Settings (environment variables):
--   SOURCE     directory to upload
--   TARGET     destination, as the uploader expects it
--   DELAY      seconds from the first change to the upload
--   UPLOADER   program to call
--   SEPARATOR  "nul" if the uploader expects NUL-terminated names instead of lines; otherwise,
--              changed files with a line break in their name are skipped
-- Requires: rclone with a remote that `rclone config` has set up. For another uploader, adapt the
-- arguments of the calls and the exit codes.

local source = os.getenv("SOURCE") or "/tmp/watched"
local target = os.getenv("TARGET") or "remote:bucket"
local separator = os.getenv("SEPARATOR") == "nul" and "\0" or "\n"

-- Returns true if the list can contain the name: a list of lines permits no line breaks in names.
local function fits(path)
    if separator == "\0" or not path:find("\n", 1, true) then return true end
    log("Warn", "a name with a line break is left out: ", path)
    return false
end

-- Returns true for events that need no upload: the target stores neither directories nor
-- attributes.
local function is_nothing(event)
    return event.isdir and event.etype ~= "Delete" or event.etype == "Attrib"
end

local upload = {
    delay = tonumber(os.getenv("DELAY") or 5),

    -- rclone returns 1 for uncategorized errors, 3 and 4 for a missing directory or file, 5 for
    -- temporary errors, and 9 if there was nothing to transfer.
    exitcodes = { [0] = "ok", [1] = "again", [3] = "ok", [4] = "ok", [5] = "again", [9] = "ok" },

    -- Allows the setting "uploader" in addition to the standard ones.
    checkgauge = { default.checkgauge, uploader = true },

    prepare = function(config, level)
        default.prepare(config, level)
        if type(config.uploader) ~= "string" then error("the uploader is missing", level) end
        if not config.target then error("the target is missing", level) end
    end,

    -- Uploads the whole source at startup.
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
        -- Uploads and deletions need separate calls. A list ends where the other kind begins, so
        -- their order is preserved.
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
