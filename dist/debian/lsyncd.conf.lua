-- Configuration of lsyncd.service: a Lua program that declares the mirrors.
--
-- Nothing is mirrored as long as there is no sync, and the service is neither enabled nor started
-- by the package. Write for example:
--
--     sync{
--         default.rsync,                   -- or default.rsyncssh, or default.direct
--         source  = "/srv/www",
--         target  = "backup:/srv/www",
--         exclude = { "*.tmp", "/cache/" },
--         rsync   = { archive = true },
--     }
--
-- "lsyncd -check /etc/lsyncd/lsyncd.conf.lua" checks it, and "systemctl enable --now lsyncd" starts
-- it. What only the target has is deleted. All settings are in configuration.md, and examples in
-- examples, both in /usr/share/doc/lsyncd-rs.

settings{
    logfile     = "/var/log/lsyncd/lsyncd.log",
    statusFile  = "/run/lsyncd/status",
    -- Members of this group may read the state, as lsyncctl-serve.service does.
    socketGroup = "lsyncd",
}
