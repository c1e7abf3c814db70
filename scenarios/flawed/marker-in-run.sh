#!/bin/bash
# What is wrong: the note that a reload is owed is where nothing lasts.
. "$ROOT/usr/local/lib/renewal.sh"

owed=$ROOT/run/reload-owed

install() {
    touch "$owed"
    ln --symbolic "${new##*/}" "$live.new"
    mv --no-target-directory "$live.new" "$live"
}

reload() {
    local answer=0
    [[ -e $owed ]] || return 0
    served --within 50ms || answer=$?
    case $answer in
    0) ;;
    3)
        systemctl reload nginx
        served --within 5s
        ;;
    *) exit "$answer" ;;
    esac
    rm "$owed"
}

main
