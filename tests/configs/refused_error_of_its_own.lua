-- A file may check for itself what it needs.
-- expect: exit 255
-- expect: says refused_error_of_its_own.lua:6: BACKUP_HOST_OF_THIS_SITE is not set
-- expect: lacks stack traceback

local host = os.getenv("BACKUP_HOST_OF_THIS_SITE") or error("BACKUP_HOST_OF_THIS_SITE is not set")

sync { default.rsync, source = "/srv/place/www", target = host .. ":/srv/www" }
