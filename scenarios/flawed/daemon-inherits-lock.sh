#!/bin/bash
# What is wrong: descriptor 9 is not closed for the daemon.
. "$ROOT/usr/local/lib/renewal.sh"

reload() {
    systemctl reload nginx
    served --within 5s
    # Stands for a daemon that sends out what has changed.
    sleep 1000 &
}

main
