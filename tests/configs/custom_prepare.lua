-- expect: exit 0
-- expect: live 143
-- expect: output target   /srv/place/copies/www/
-- mkdir: copies

local backup = {
    default.rsync,
    prepare = function(config, level)
        config.target = "/srv/place/copies/" .. config.source:match("([^/]+)/?$")
        default.rsync.prepare(config, level + 6)
    end,
}

sync { backup, source = "/srv/place/www" }
sync { backup, source = "/srv/place/home" }
