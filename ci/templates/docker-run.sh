#!/bin/sh
# Runs roulette in a container with what a private world needs, on the scenarios of the current folder.
# Not run in Process Roulette's own CI.
#
#   ci/templates/docker-run.sh IMAGE scenarios/mine.toml
#
# IMAGE has the subject's programs (certbot, flock, ...), `roulette` on PATH, and Pebble or apt to fetch it with.
#
#   SYS_ADMIN, NET_ADMIN      namespaces, mounts, the cable between the two hosts
#   seccomp, apparmor         their default profiles forbid unshare and mount
#   systempaths=unconfined    a /proc with masked parts forbids a fresh one to an ordinary user; root does without
#   --init                    somebody who reaps processes
#
# None of these lets anything out of the container's own network; the worlds have no network but their own.
set -eu
image=$1
shift
exec docker run --rm --init \
    --cap-add SYS_ADMIN --cap-add NET_ADMIN \
    --security-opt seccomp=unconfined \
    --security-opt apparmor=unconfined \
    --security-opt systempaths=unconfined \
    --volume "$PWD:/work" --workdir /work \
    "$image" roulette run "$@" --require "private world" --report junit=roulette.xml --report html=roulette.html
