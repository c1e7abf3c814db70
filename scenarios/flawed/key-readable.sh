#!/bin/bash
# What is wrong: the shell makes the file with the default umask, and cat has filled it before it is narrowed.
. "$ROOT/usr/local/lib/renewal.sh"

obtain() {
    local got public
    new=$(mktemp --directory "$state/pair.XXXXXX")
    ask_the_ca --webroot "$ROOT/var/www"
    # As servers need it that are not root.
    chmod 755 "$new"
    mv "$new/privkey.pem" "$new/private"
    (umask 022 && cat "$new/private" >"$new/privkey.pem")
    chmod 600 "$new/privkey.pem"
    rm "$new/private"
}

main
