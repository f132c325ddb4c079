-- expect: exit 0
-- expect: live 143
-- expect: output delay    0.4 s
-- expect: output delete   never
-- expect: command rsync -lspu --modify-window=-1 --stats -r /srv/place/home/ /srv/place/copies/home/
-- mkdir: copies

default.rsync.delete       = false
default.rsync.delay        = 0.4
default.rsync.rsync.times  = false
default.rsync.rsync.perms  = true
default.rsync.rsync.update = true

for _, name in ipairs { "www", "home" } do
    sync { default.rsync, source = "/srv/place/" .. name, target = "/srv/place/copies/" .. name }
end
