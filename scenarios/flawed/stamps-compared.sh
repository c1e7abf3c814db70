#!/bin/bash
# What is wrong: which came later, the install or the reload, is asked of the clock.
. "$ROOT/usr/local/lib/renewal.sh"

stamp() {
    echo "${EPOCHREALTIME/[.,]/}" >"$state/$1.new"
    mv "$state/$1.new" "$state/$1"
}

install() {
    stamp installed
    ln --symbolic "${new##*/}" "$live.new"
    mv --no-target-directory "$live.new" "$live"
}

reload() {
    local installed=0 reloaded=0 answer=0
    [[ ! -e $state/installed ]] || read -r installed <"$state/installed"
    [[ ! -e $state/reloaded ]] || read -r reloaded <"$state/reloaded"
    [[ $installed -gt $reloaded ]] || return 0
    served --within 50ms || answer=$?
    case $answer in
    0) ;;
    3)
        systemctl reload nginx
        served --within 5s
        ;;
    *) exit "$answer" ;;
    esac
    stamp reloaded
}

main
