-- expect: exit 0
-- expect: live 143
-- expect: output syslog   local3 as mirror-www

settings { logfacility = "local3", logident = "mirror-www" }

sync { default.direct, source = "/srv/place/www", target = "/srv/place/mirror" }
