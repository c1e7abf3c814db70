#!/bin/bash
# What is wrong: a helper in the background that is not done after half a second is taken for done.
. "$ROOT/usr/local/lib/renewal.sh"

install() {
    ln --symbolic "${new##*/}" "$live.new"
    mv --no-target-directory "$live.new" "$live" &
    sleep 0.5
    if ! kill -0 $! 2>/dev/null; then
        wait $!
    fi
}

main
