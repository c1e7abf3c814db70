#!/usr/bin/env bash
# The main job where it is hardest: in a default Docker container (the engine's own seccomp profile,
# no extra capability, no network), on an image made of nothing but this project's program, Pebble
# and a shell. As root and as an ordinary user of the container.
#
#   ci/docker-bare.sh [ROULETTE]        default: target/release/roulette
#
# Pebble is taken from ROULETTE_PEBBLE, PATH or the cache that `roulette` has unpacked one into.
# Exit codes: 0 passed, 1 failed, 4 this machine has no engine or no Pebble.
set -euo pipefail
cd "$(dirname "$0")/.."

roulette=${1:-target/release/roulette}
image=process-roulette-bare:$$-$RANDOM
name=process-roulette-bare-$$-$RANDOM

lacking() { echo "docker-bare: $*" >&2; exit 4; }
failed() { echo "docker-bare: FAILED: $*" >&2; exit 1; }

[[ -x $roulette ]] || lacking "there is no $roulette: cargo build --release"
timeout 20 docker info >/dev/null 2>&1 || lacking "no Docker engine answers"

pebble_folder() {
    local candidate
    for candidate in "${ROULETTE_PEBBLE:-}" "$(command -v pebble || true)" \
        "${XDG_CACHE_HOME:-$HOME/.cache}"/process-roulette/pebble-*; do
        [[ -f $candidate ]] && candidate=$(dirname "$candidate")
        if [[ -n $candidate && -x $candidate/pebble && -x $candidate/pebble-challtestsrv ]]; then
            echo "$candidate"
            return
        fi
    done
    return 1
}
pebble=$(pebble_folder) || lacking "no pebble with its pebble-challtestsrv: \`roulette census scenarios/reference.toml\` fetches one"

folder=$(mktemp -d)
cleanup() {
    docker rm --force "$name" >/dev/null 2>&1 || true
    docker rmi --force "$image" >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap cleanup EXIT

root=$folder/root
mkdir -p "$root"/{usr/bin,bin,etc,tmp,scenarios}
chmod 755 "$folder" "$root"
chmod 1777 "$root/tmp"
cp "$roulette" "$root/usr/bin/roulette"
cp -L "$pebble/pebble" "$pebble/pebble-challtestsrv" "$(command -v bash)" "$root/usr/bin/"
cp -L "$(command -v sh)" "$root/bin/sh"
cp -r scenarios/reference.toml scenarios/reference "$root/scenarios/"
for program in "$root"/usr/bin/* "$root"/bin/*; do
    # What the loader says it needs, the loader itself included; nothing for a static program.
    { ldd "$program" 2>/dev/null || true; } | grep -oE '/[^ ]+' || true
done | sort -u | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
printf 'root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n' >"$root/etc/passwd"
tar -C "$root" -c . | docker import --change 'ENV PATH=/usr/bin:/bin' - "$image" >/dev/null

# One container, removed when it ends, no network, no more rights than the engine gives by itself.
contained() { docker run --rm --name "$name" --network none "$@"; }

for user in 0:0 1000:1000; do
    echo "== as $user"
    code=0
    contained --user "$user" --env HOME=/tmp "$image" \
        roulette run /scenarios/reference.toml \
        >"$folder/text" 2>"$folder/progress" || code=$?
    cat "$folder/text"
    if [[ $code != 0 ]]; then
        cat "$folder/progress" >&2
        failed "exit code $code as $user"
    fi
    grep -q '^world  *bare' "$folder/text" || failed "the world is not the bare one"
    grep -q '^not tried' "$folder/text" || failed "the report does not say what could not be tried"
    grep -q 'private worlds, because' "$folder/text" || failed "the report does not say why there is no private world"
    points=$(sed -n 's/^points  *\([0-9]* of [0-9]*\) covered$/\1/p' "$folder/text")
    [[ -n $points && ${points% of *} == "${points#* of }" ]] || failed "not every point is covered: $points"
    # As many as elsewhere: a container must not hide effects.
    elsewhere=$("$roulette" census --world bare --pebble "$pebble" scenarios/reference.toml --format json |
        grep -c '"durable": true')
    inside=$(contained --user "$user" --env HOME=/tmp "$image" \
        roulette census /scenarios/reference.toml --format json | grep -c '"durable": true')
    [[ $elsewhere == "$inside" ]] || failed "a clean run has $inside effects in the container and $elsewhere outside"
done

echo "== a private world is refused with its remedy"
code=0
contained "$image" roulette run --world private /scenarios/reference.toml >"$folder/text" 2>&1 || code=$?
[[ $code == 4 ]] || failed "exit code $code for --world private: $(cat "$folder/text")"
tail -n 1 "$folder/text"
contained "$image" roulette check
echo "docker-bare: passed"
