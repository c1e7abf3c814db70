#!/bin/bash
# What is wrong: told to stop, it has a child pay what it owes, and leaves. Where it is the main process its children go with it.
. "$ROOT/usr/local/lib/renewal.sh"

install() {
    touch "$state/reload-owed"
    ln --symbolic "${new##*/}" "$live.new"
    mv --no-target-directory "$live.new" "$live"
}

reload() {
    local answer=0
    [[ -e $state/reload-owed ]] || return 0
    served --within 50ms || answer=$?
    case $answer in
    0) ;;
    3)
        systemctl reload nginx
        served --within 5s
        ;;
    *) exit "$answer" ;;
    esac
    rm "$state/reload-owed"
}

leave() {
    if [[ -e $state/reload-owed ]]; then
        rm "$state/reload-owed"
        (sleep 1 && { served --within 50ms || systemctl reload nginx; }) &
    fi
    exit 143
}

trap leave TERM

main
