#!/bin/bash
# What is wrong: nothing is served meanwhile, and a run that is killed meanwhile starts nothing.
. "$ROOT/usr/local/lib/renewal.sh"

obtain() {
    new=$(mktemp --directory "$state/pair.XXXXXX")
    systemctl stop nginx
    ask_the_ca --listen "$HTTP"
}

reload() {
    systemctl start nginx
}

main
