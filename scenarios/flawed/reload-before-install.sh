#!/bin/bash
# What is wrong: reload and install are in the wrong order.
. "$ROOT/usr/local/lib/renewal.sh"

main() {
    enter
    clean_up
    if due; then
        obtain
        systemctl reload nginx
        install
    fi
}

main
