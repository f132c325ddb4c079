-- Each file of a directory adds a sync, by a shell and modules.
-- expect: exit 0
-- expect: live 143
-- expect: output Sync2: default.rsync
-- with: conf.d/www.lua conf.d/home.lua
-- mkdir: copies

local here = debug.getinfo(1).source:match("^@(.*/)")
package.path = here .. "conf.d/?.lua;" .. package.path

local listing = io.popen("ls '" .. here .. "conf.d'")
for file in listing:lines() do
    local module = file:match("^(.*)%.lua$")
    if module then require(module) end
end
listing:close()
