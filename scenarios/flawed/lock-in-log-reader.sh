#!/bin/bash
# What is wrong: the client does not inherit the lock. What keeps the next run out while a killed run's client is at work
# is the reader of the log, and that goes by the name of the script.
. "$ROOT/usr/local/lib/renewal.sh"

obtain() {
    new=$(mktemp --directory "$state/pair.XXXXXX")
    ask_the_ca --webroot "$ROOT/var/www" 9>&-
}

# Every line with the time before it.
stamp_lines() {
    local line
    while read -r line; do echo "$EPOCHSECONDS $line"; done
}

main() {
    enter
    exec > >(stamp_lines) 2>&1
    clean_up
    if due; then
        obtain
        install
    fi
    reload
}

main
