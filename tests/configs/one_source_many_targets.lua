-- expect: exit 0
-- expect: live 143
-- expect: says Sync5: default.rsync
-- expect: says maxProcesses 2
-- expect: lacks Warning
-- make: copies

settings { maxProcesses = 2 }

for number = 1, 5 do
    sync {
        default.rsync,
        source = "/srv/place/www",
        target = ("/srv/place/copies/%02d"):format(number),
    }
end
