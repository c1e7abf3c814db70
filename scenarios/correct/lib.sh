# A renewal pipeline in building blocks, all of them correct. A pipeline sources this file and calls
# `main`. Those in ../flawed replace one block each with one that has a bug.
#
#   $state/live -> pair.XXXXXX         what the server reads through
#   $state/pair.XXXXXX/fullchain.pem   and privkey.pem: one pair, never changed once it is live
#   $state/account.json                the ACME account
#
# shellcheck shell=bash
set -euo pipefail
shopt -s nullglob
umask 077

state=$ROOT/var/lib/renewal
lock=$ROOT/run/renewal.lock
live=$state/live
certificate=$live/fullchain.pem
key=$live/privkey.pem

# Nobody else is at work, and will be until this run and everything it started is gone: children
# inherit the descriptor, so that one that outlives a killed run still keeps the next run out.
enter() {
    exec 9>"$lock"
    flock --nonblock 9 || exit 75
}

# What killed runs left, and what could not be removed at the time.
clean_up() {
    local pair left=("$state"/*.new "$ROOT"/var/www/.well-known/acme-challenge/*)
    for pair in "$state"/pair.*; do
        [[ $pair/fullchain.pem -ef $certificate ]] || left+=("$pair")
    done
    [[ ${#left[@]} -eq 0 ]] || rm -r "${left[@]}"
}

# Whether to renew. A question that could not be answered (or was killed) is neither yes nor no.
due() {
    local answer=0
    guard due --certificate "$certificate" --key "$key" || answer=$?
    [[ $answer -le 1 ]] || exit "$answer"
    return "$answer"
}

# A new pair in $new, beside the live one and on the same filesystem.
obtain() {
    new=$(mktemp --directory "$state/pair.XXXXXX")
    ask_the_ca --webroot "$ROOT/var/www"
}

ask_the_ca() {
    guard obtain --quiet --locked --domain example.com --directory-url "$DIRECTORY_URL" --ca-bundle "$CA_BUNDLE" \
        --account "$state/account.json" --retries 100ms,300ms,900ms --poll 20ms --poll-timeout 5s \
        --certificate "$new/fullchain.pem" --key "$new/privkey.pem" "$@"
}

# Key and certificate in place by one rename of one symbolic link.
install() {
    ln --symbolic "${new##*/}" "$live.new"
    mv --no-target-directory "$live.new" "$live"
}

# A reload is owed until the server serves what is on disk, whichever run put it there.
reload() {
    local answer=0
    served --within 50ms || answer=$?
    case $answer in
    0) ;;
    3) systemctl reload nginx && served --within 5s ;;
    *) exit "$answer" ;;
    esac
}

served() {
    guard served --address "$SERVER" --name example.com --wait-for "$certificate" "$@" >/dev/null
}

main() {
    enter
    clean_up
    if due; then
        obtain
        install
    fi
    reload
}
