# Runs as root in a minimal system without systemd, with the packages in /trial.
exec </dev/null
cd /

fail() {
    echo "trial: $*" >&2
    exit 1
}

# Waits for a condition, a command.
await() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 1200 ] || fail "waited in vain for: $*"
        sleep 0.05
    done
}

files() {
    # Without what dpkg and the system themselves write.
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /trial -o -path /tmp \
        -o -path /var/lib/dpkg -o -path /var/cache -o -path /var/log/dpkg.log \
        -o -path '/etc/*-' -o -path /etc/.pwd.lock -o -path '/etc/*.lock' \) -prune -o -print | sort
    cat /etc/group
}

conf=/etc/lsyncd/lsyncd.conf.lua
files >/trial/before

echo "trial: install beside the package of the original, with a configuration of the user"
mkdir -p /trial/original/DEBIAN /trial/original/usr/bin /trial/original/etc/logrotate.d
printf 'Package: lsyncd\nVersion: 2.2.3-1\nArchitecture: all\nMaintainer: x <x@localhost>\nDescription: x\n' \
    >/trial/original/DEBIAN/control
echo /etc/logrotate.d/lsyncd >/trial/original/DEBIAN/conffiles
echo original >/trial/original/usr/bin/lsyncd
echo original >/trial/original/etc/logrotate.d/lsyncd
dpkg-deb --build /trial/original /trial/original.deb >/dev/null
dpkg -i /trial/original.deb >/dev/null
mkdir -p /etc/lsyncd
echo '-- the configuration of the user' >$conf
dpkg -i /trial/first.deb >/dev/null
grep -q 'of the user' $conf || fail "the configuration of the user was replaced"
[ ! -e $conf.kept ] || fail "a copy of the configuration is left"
if dpkg-query -W -f '${db:Status-Status}' lsyncd 2>/dev/null | grep -q '^installed'; then
    fail "the original is still installed"
fi
grep -q 'needs no signal' /etc/logrotate.d/lsyncd || fail "logrotate has the old file"
dpkg -P lsyncd lsyncd-rs >/dev/null 2>&1
files | diff /trial/before - || fail "the purge left something"

echo "trial: install"
dpkg -i /trial/first.deb >/dev/null
lsyncd -version | grep -q '^Version: ' || fail "the program does not run"
grep -q '^lsyncd:' /etc/group || fail "there is no group"
grep -q 'declares the mirrors' $conf || fail "there is no configuration"
code=0
lsyncd -configExitCode 78 $conf 2>/trial/errors || code=$?
[ "$code" = 78 ] || fail "the default configuration ends with $code"
grep -q 'Nothing to watch' /trial/errors || fail "the default configuration is not explained"
[ ! -e /etc/systemd/system/multi-user.target.wants/lsyncd.service ] || fail "it is enabled"

echo "trial: start"
mkdir /tmp/source
cat >>$conf <<'END'
settings{ statusFile = "/tmp/status", pidfile = "/tmp/pid", logfile = "/tmp/log" }
sync{ default.direct, source = "/tmp/source", target = "/tmp/target" }
END
lsyncd $conf >/dev/null
await test -s /tmp/pid
echo 1 >/tmp/source/a
await test -e /tmp/target/a

echo "trial: upgrade"
dpkg -i /trial/newer.deb >/dev/null
grep -q /tmp/source $conf || fail "the upgrade replaced the changed configuration"
kill -0 "$(cat /tmp/pid)" || fail "the upgrade ended a daemon that systemd does not know"
echo 2 >/tmp/source/b
await test -e /tmp/target/b
kill -HUP "$(cat /tmp/pid)"
await grep -q 'kept as it is' /tmp/log
pid=$(cat /tmp/pid)
kill "$pid"
await test ! -e /tmp/pid

echo "trial: remove, and install again"
dpkg -r lsyncd-rs >/dev/null
[ ! -e /usr/bin/lsyncd ] || fail "the program is still there"
[ -e $conf ] || fail "the removal took the configuration"
dpkg -i /trial/newer.deb >/dev/null
grep -q /tmp/source $conf || fail "the reinstallation replaced the configuration"

echo "trial: purge"
mkdir -p /etc/systemd/system/multi-user.target.wants /var/lib/lsyncd/web /var/log/lsyncd /run/lsyncd
ln -s /usr/lib/systemd/system/lsyncd@.service \
    /etc/systemd/system/multi-user.target.wants/lsyncd@web.service
dpkg -P lsyncd-rs >/dev/null 2>&1
rmdir --ignore-fail-on-non-empty /etc/systemd/system/multi-user.target.wants \
    /etc/systemd/system /etc/systemd 2>/dev/null || true
files | diff /trial/before - || fail "the purge left something"
