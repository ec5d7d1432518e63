"""A trial that learns nothing: it writes the files of a run, epoch by epoch, as fast as it is told to.

Its curve is a function of its values alone, so that a sweep over it can be compared with another one byte by byte.
"""

import argparse
import csv
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import yaml

parser = argparse.ArgumentParser()
parser.add_argument("--directory", type=Path)
parser.add_argument("--number", type=int)
parser.add_argument("--test", action="store_true")
parser.add_argument("--prepare", action="store_true")
options = parser.parse_args()


def leave() -> None:
    os.read(0, 1)
    os._exit(4)


threading.Thread(target=leave, daemon=True).start()
if options.prepare:
    if os.environ.get("FAKE_TRIAL") == "crash-in-preparation":
        print("reading the manifest", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    sys.exit(0)
config = yaml.safe_load((options.directory / "trials" / f"{options.number:04}.yaml").read_text())
batch, epochs = config["training"]["batch_size"], config["training"]["epochs"]
run = options.directory / "trials" / f"{options.number:04}"
run.mkdir(exist_ok=True)
kind = os.environ.get("FAKE_TRIAL", "")
if kind == "fail" or (kind == "fail-on-7" and batch == 7):
    print("error: the folder videos does not exist; check data.root.")
    sys.exit(1)
if kind == "diverge-on-7" and batch == 7:
    print("error: training diverged: loss is nan at epoch 2.")
    sys.exit(3)
if kind == "crash-on-7" and batch == 7:
    os.kill(os.getpid(), signal.SIGSEGV)
history = run / "history.csv"
rows = list(csv.reader(history.open())) if history.exists() else [["epoch", "val_accuracy", "val_loss"]]
for epoch in range(len(rows), epochs + 1):
    time.sleep(float(os.environ.get("FAKE_EPOCH_SEC", "0.01")))
    accuracy = 1 - abs(batch - 12) / 20 - 0.5 / epoch
    rows.append([str(epoch), repr(accuracy), repr(1 - accuracy)])
    text = "".join(",".join(row) + "\n" for row in rows)
    temporary = run / ".history"
    temporary.write_text(text)
    temporary.replace(history)
    (run / "timing.json").write_text(json.dumps({"epochs_sec": [1.0] * epoch}))
(run / "trial.json").write_text(json.dumps({"parameters": 100 * batch}))
