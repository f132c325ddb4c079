-- expect: exit 255
-- expect: says /srv/place/etc/no-such-part.lua
-- expect: says error preparing /srv/place/etc/refused_file_that_is_missing.lua

dofile("/srv/place/etc/no-such-part.lua")

sync { default.rsync, source = "/srv/place/www", target = "/srv/place/mirror" }
