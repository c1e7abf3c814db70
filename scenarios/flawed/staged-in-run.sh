#!/bin/bash
# What is wrong: the new pair waits where nothing lasts, and the note that it is there lasts.
. "$ROOT/usr/local/lib/renewal.sh"

staged=$ROOT/run/renewal-staged
obtained=$state/obtained

stage() {
    mkdir --parents "$staged"
    new=$staged
    ask_the_ca --webroot "$ROOT/var/www"
    touch "$obtained"
}

promote() {
    new=$(mktemp --directory "$state/pair.XXXXXX")
    cp "$staged/fullchain.pem" "$staged/privkey.pem" "$new"
    install
    rm "$obtained"
}

main() {
    enter
    clean_up
    if [[ ! -e $obtained ]] && due; then
        stage
    fi
    if [[ -e $obtained ]]; then
        promote
    fi
    rm --recursive --force "$staged"
    reload
}

main
