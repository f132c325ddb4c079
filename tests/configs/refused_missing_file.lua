-- expect: exit 255
-- expect: output /srv/place/etc/no-such-part.lua
-- expect: output error preparing /srv/place/etc/refused_missing_file.lua

dofile("/srv/place/etc/no-such-part.lua")

sync { default.rsync, source = "/srv/place/www", target = "/srv/place/mirror" }
