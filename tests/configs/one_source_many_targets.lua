-- expect: exit 0
-- expect: live 143
-- expect: output Sync5: default.rsync
-- expect: output maxProcesses 2
-- expect: no-output Warning
-- mkdir: copies

settings { maxProcesses = 2 }

for number = 1, 5 do
    sync {
        default.rsync,
        source = "/srv/place/www",
        target = ("/srv/place/copies/%02d"):format(number),
    }
end
