-- A file can check its own requirements.
-- expect: exit 255
-- expect: output refused_custom_error.lua:6: BACKUP_HOST_OF_THIS_SITE is not set
-- expect: no-output stack traceback

local host = os.getenv("BACKUP_HOST_OF_THIS_SITE") or error("BACKUP_HOST_OF_THIS_SITE is not set")

sync { default.rsync, source = "/srv/place/www", target = host .. ":/srv/www" }
