#!/usr/bin/env python3
"""Renews with fcntl and os.replace: no shell, and no coreutils."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = os.environ["ROOT"]
STATE = Path(f"{ROOT}/var/lib/renewal")
LIVE = STATE / "live"
SERVED = ["guard", "served", "--address", os.environ["SERVER"], "--name", "example.com"]


def lock():
    # Open for as long as this process lives, and inherited: a child that outlives it is still at work.
    descriptor = os.open(f"{ROOT}/run/renewal.lock", os.O_CREAT | os.O_RDWR, 0o600)
    os.set_inheritable(descriptor, True)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(75)


def run(*command, known=(0,)):
    """Its exit status, which is one of those that are known to mean something."""
    status = subprocess.run(command, close_fds=False).returncode
    if status not in known:
        sys.exit(f"{' '.join(map(str, command))}: status {status}")
    return status


def clean_up():
    live = LIVE.resolve()
    for path in STATE.iterdir():
        if path.name.startswith("pair-") and path != live:
            shutil.rmtree(path)
    (STATE / "live.new").unlink(missing_ok=True)


def renew():
    pair = Path(tempfile.mkdtemp(prefix="pair-", dir=STATE))
    run(
        "guard", "obtain", "--quiet", "--locked", "--domain", "example.com", "--webroot", f"{ROOT}/var/www",
        "--directory-url", os.environ["DIRECTORY_URL"], "--ca-bundle", os.environ["CA_BUNDLE"],
        "--account", STATE / "account.json", "--retries", "100ms,300ms,900ms", "--poll", "20ms",
        "--certificate", pair / "fullchain.pem", "--key", pair / "privkey.pem",
    )
    os.symlink(pair.name, STATE / "live.new")
    os.replace(STATE / "live.new", LIVE)


def main():
    lock()
    clean_up()
    if run("guard", "due", "--certificate", LIVE / "fullchain.pem", "--key", LIVE / "privkey.pem", known=(0, 1)) == 0:
        renew()
    if run(*SERVED, "--wait-for", LIVE / "fullchain.pem", "--within", "50ms", known=(0, 3)) == 3:
        run("systemctl", "reload", "nginx")
        run(*SERVED, "--wait-for", LIVE / "fullchain.pem", "--within", "5s")


main()
