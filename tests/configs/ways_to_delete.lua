-- expect: exit 0
-- expect: live 143
-- expect: says delete   at the start only
-- expect: says delete   after the start only
-- expect: says delete   never
-- expect: words rsync --delete -lts -r /srv/place/www/ /srv/place/copies/startup/
-- expect: words rsync -lts -r /srv/place/www/ /srv/place/copies/running/
-- expect: words rsync -lts --modify-window=-1 --from0 --files-from=- --force /srv/place/www/ /srv/place/copies/never/
-- make: copies

for name, when in pairs { startup = "startup", running = "running", never = false } do
    sync {
        default.rsync,
        source = "/srv/place/www",
        target = "/srv/place/copies/" .. name,
        delete = when,
    }
end
