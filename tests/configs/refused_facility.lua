-- expect: exit 255
-- expect: output Logging facility 'daemons' unknown.

settings { logfacility = "daemons", logident = "mirror" }

sync { default.rsync, source = "/srv/place/www", target = "/srv/place/mirror" }
