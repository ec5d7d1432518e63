"""Which program reads compressed RAR files, and whether it can.

`rarfile` takes the first that starts. Of those, Debian's 7-Zip comes without its RAR part, and `bsdtar` is called with
`-f --`, which names the wrong file (rarfile 4.5); both end as a damaged archive. So only those are left to it that
work. Files that are stored, not compressed, need none.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess

from keras_actrec.errors import UserError

HELP = "install unrar or unar (Debian: apt install unar)"
_SEVEN_ZIPS = ("7z", "7zz")
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

    for allowed in ({"unrar": True, "unar": True}, *_seven_zips()):
        try:
            rarfile.tool_setup(**_NONE | allowed, force=True)
        except rarfile.RarCannotExec:
            continue
        return True
    return False


def _seven_zips() -> list[dict[str, bool]]:
    names = dict(zip(_SEVEN_ZIPS, ("sevenzip", "sevenzip2"), strict=True))
    return [{names[program]: True} for program in _SEVEN_ZIPS if _knows_rar(program)]


def _knows_rar(program: str) -> bool:
    if shutil.which(program) is None:
        return False
    formats = subprocess.run([program, "i"], capture_output=True, text=True, timeout=30, check=False)
    return " Rar" in formats.stdout
