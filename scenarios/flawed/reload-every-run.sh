#!/bin/bash
# What is wrong: nobody asks what the server serves already.
. "$ROOT/usr/local/lib/renewal.sh"

reload() {
    systemctl reload nginx
    served --within 5s
}

main
