"""Which program reads compressed RAR files, and whether it can.

`rarfile` takes the first that starts. Of those, Debian's 7-Zip comes without its RAR part, and `bsdtar` is called with
`-f --`, which names the wrong file (rarfile 4.5); both end as a damaged archive. So only those are left to it that
work; `doctor` asks here, too. Files that are stored, not compressed, need none.
"""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable, Sequence

from keras_actrec.errors import UserError

Run = Callable[[Sequence[str]], tuple[int, str]]
"""Runs a command and returns its exit code, 127 where there is no such program, and what it printed."""

HELP = "install unrar or unar (Debian: apt install unar)"
_ASKED = {"unrar": ("-inul", "-?"), "unar": ("-version",), "7z": ("i",), "7zz": ("i",)}
"""Program -> arguments with which it says that it works, as `rarfile` asks; the first that does is taken."""
PROGRAMS = tuple(_ASKED)
_SEVEN_ZIPS = {"7z": "sevenzip", "7zz": "sevenzip2"}
"""Program -> what `rarfile` calls it."""
_NONE = {"unrar": False, "unar": False, "bsdtar": False, "sevenzip": False, "sevenzip2": False}


def need_package() -> None:
    """Refuse to begin without the package that reads archives.

    Raises:
        UserError: says what to install.
    """
    if importlib.util.find_spec("rarfile") is None:
        raise UserError("archives are read with rarfile, which is not installed; pip install 'keras_actrec[fetch]'.")


def choose() -> bool:
    """Let `rarfile` use a program that can read RAR files; return whether there is one."""
    import rarfile

    program = find()
    if program is None:
        return False
    try:
        rarfile.tool_setup(**_NONE | {_SEVEN_ZIPS.get(program, program): True}, force=True)
    except rarfile.RarCannotExec:
        return False
    return True


def _run(command: Sequence[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 127, ""
    return done.returncode, done.stdout


def find(run: Run = _run) -> str | None:
    """Return the first program that can read RAR files; None: there is none."""
    return next((program for program in _ASKED if _can(program, run)), None)


def _can(program: str, run: Run) -> bool:
    code, printed = run([program, *_ASKED[program]])
    return code == 0 and (program not in _SEVEN_ZIPS or " Rar" in printed)
