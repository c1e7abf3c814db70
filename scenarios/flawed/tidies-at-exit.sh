#!/bin/bash
# What is wrong: a run tidies up after itself at its end, and there is none where all of it is killed.
. "$ROOT/usr/local/lib/renewal.sh"

clean_up() {
    new=
    old=$(readlink "$live" || :)
    trap tidy_up EXIT
}

# The pair that was replaced, or the one that did not come to replace it.
tidy_up() {
    local now pair
    now=$(readlink "$live" || :)
    for pair in "$old" "${new##*/}"; do
        [[ -z $pair || $pair == "$now" ]] || rm -r "${state:?}/$pair"
    done
}

obtain() {
    new=$(mktemp --directory "$state/tmp.XXXXXX")
    ask_the_ca --webroot "$ROOT/var/www"
    mv "$new" "${new/tmp./pair.}"
    new=${new/tmp./pair.}
}

install() {
    ln --symbolic --force --no-dereference "${new##*/}" "$live.new"
    mv --no-target-directory "$live.new" "$live"
}

main
