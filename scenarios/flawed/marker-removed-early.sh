#!/bin/bash
# What is wrong: a run that is killed after rm has forgotten what it owes.
. "$ROOT/usr/local/lib/renewal.sh"

install() {
    touch "$state/reload-owed"
    ln --symbolic "${new##*/}" "$live.new"
    mv --no-target-directory "$live.new" "$live"
}

reload() {
    if [[ -e $state/reload-owed ]]; then
        rm "$state/reload-owed"
        systemctl reload nginx
    fi
}

main
