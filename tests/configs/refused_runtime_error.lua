-- expect: exit 255
-- expect: output refused_runtime_error.lua:7: attempt to concatenate a nil value (global 'hosst')

local host = "web.example.net"
sync {
    default.rsync,
    source = "/srv/place/www", target = hosst .. ":/srv/www",
}
