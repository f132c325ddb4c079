#!/bin/sh
# Keeps the standard input of rsync.
tee -a /srv/place/var/lists | rsync "$@"
