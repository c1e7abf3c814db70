#!/usr/bin/env python3
# What is wrong: a lock that was not refreshed for a while is taken over. Whoever was only stopped meanwhile goes on.
"""Renews under a lock with a lease, which a thread refreshes."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = os.environ["ROOT"]
STATE = Path(f"{ROOT}/var/lib/renewal")
LIVE = STATE / "live"
LOCK = Path(f"{ROOT}/run/renewal.lock")
# In seconds. Minutes, in real life.
LEASE = 1
SERVED = ["guard", "served", "--address", os.environ["SERVER"], "--name", "example.com"]


def lock():
    give_up = time.monotonic() + 5
    while True:
        try:
            LOCK.mkdir()
            break
        except FileExistsError:
            if lease_is_over():
                break
        if time.monotonic() > give_up:
            sys.exit(75)
        time.sleep(0.05)
    threading.Thread(target=refresh, daemon=True).start()


def lease_is_over():
    try:
        return time.time() - LOCK.stat().st_mtime > LEASE
    except FileNotFoundError:
        return False


def refresh():
    while True:
        try:
            os.utime(LOCK)
        except FileNotFoundError:
            pass
        time.sleep(LEASE / 10)


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
    LOCK.rmdir()


main()
