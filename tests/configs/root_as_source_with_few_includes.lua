-- The source is the root directory, and rules include a part of it.
-- expect: exit 0
-- expect: output source   /
-- expect: command rsync '--filter=. -' --delete -ltspgoD --timeout=300 --modify-window=-1 --max-delete=0 --stats -r / backup.example.net:/srv/machines/here/

settings { insist = true }

sync {
    default.rsync,
    source = "/",
    target = "backup.example.net:/srv/machines/here",
    filter = { "+ /etc/***", "- /*" },
    rsync  = { archive = true },
}
