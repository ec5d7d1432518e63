"""The command `doctor`: check this machine and say what cures it. Imports nothing heavy, and so never crashes by it."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from pathlib import Path

from keras_actrec.doctor import devices, media, mongodb, packages, resources
from keras_actrec.doctor.finding import Finding, Status, error
from keras_actrec.doctor.machine import Machine

FOLDERS = ("datasets", "runs")
_AT_A_TIME = 4
_MARKS = {Status.OK: "ok     ", Status.WARNING: "warning", Status.ERROR: "error  "}

Check = Callable[[Machine], Finding]


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Check this machine: Python, packages, GPUs, ffmpeg, MongoDB, disk, memory, ports. Each finding has its cure.

    A warning means that some commands will not work, an error that training cannot. Exit code 1 only with errors.

    Example: python -m keras_actrec doctor --json
    """
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(options: argparse.Namespace) -> None:
    """Print the findings, and end with code 1 if there is an error among them."""
    findings = examine(Machine(), checks())
    print(json.dumps(document(findings), indent=2) if options.json else "\n".join(lines(findings)))
    if any(finding.status is Status.ERROR for finding in findings):
        raise SystemExit(1)


def checks() -> list[tuple[str, Check]]:
    """Return all checks in the order in which they are told, with the names that they have if they fail themselves."""
    plain: list[Check] = [packages.python, packages.packages, packages.tensorflow, packages.backend]
    plain += [packages.tensorflow_io, packages.pins, devices.gpu, media.decoding, media.ffmpeg, media.rar]
    plain += [media.yt_dlp, mongodb.mongodb, resources.memory]
    named = [(check.__name__.replace("_", "-"), check) for check in plain]
    for folder in map(Path, FOLDERS):
        named.append((f"disk {folder}", functools.partial(resources.disk, folder=folder)))
        named.append((f"write {folder}", functools.partial(resources.rights, folder=folder)))
    return named + [(f"port {number}", functools.partial(resources.port, number=number)) for number in resources.PORTS]


def examine(machine: Machine, wanted: Iterable[tuple[str, Check]]) -> list[Finding]:
    """Run checks, some at a time since most wait for a process, and return their findings in order."""
    with futures.ThreadPoolExecutor(_AT_A_TIME) as pool:
        return list(pool.map(lambda named: _examine(machine, *named), wanted))


def document(findings: Sequence[Finding]) -> dict[str, object]:
    """Return findings for machines."""
    counts = {str(status): sum(finding.status is status for finding in findings) for status in Status}
    return {"counts": counts, "findings": [dataclasses.asdict(finding) for finding in findings]}


def lines(findings: Sequence[Finding]) -> list[str]:
    """Return findings for people: one a line, the cure below it."""
    width = max(len(finding.name) for finding in findings)
    out = []
    for finding in findings:
        out.append(f"{_MARKS[finding.status]}  {finding.name:<{width}}  {finding.message}")
        if finding.cure:
            out.append(f"{'':7}  {'':{width}}  cure: {finding.cure}")
    counts = document(findings)["counts"]
    return [*out, f"{counts['ok']} ok, {counts['warning']} warnings, {counts['error']} errors"]


def _examine(machine: Machine, name: str, check: Check) -> Finding:
    """Run a check; one that has a defect is a finding as well, and the others go on."""
    try:
        return check(machine)
    except Exception as problem:
        message = f"the check itself failed: {type(problem).__name__}: {problem}"
        return error(name, message, "Report this line as a defect of the package.")
