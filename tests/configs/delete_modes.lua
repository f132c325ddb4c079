-- expect: exit 0
-- expect: live 143
-- expect: output delete   only at the startup
-- expect: output delete   only after the startup
-- expect: output delete   never
-- expect: command rsync --delete -lts --modify-window=-1 --max-delete=0 --stats -r /srv/place/www/ /srv/place/copies/startup/
-- expect: command rsync -lts --modify-window=-1 --stats -r /srv/place/www/ /srv/place/copies/running/
-- expect: command rsync -lts --modify-window=-1 --ignore-times --stats --from0 --files-from=- --ignore-missing-args /srv/place/www/ /srv/place/copies/never/
-- mkdir: copies

for name, when in pairs { startup = "startup", running = "running", never = false } do
    sync {
        default.rsync,
        source = "/srv/place/www",
        target = "/srv/place/copies/" .. name,
        delete = when,
    }
end
