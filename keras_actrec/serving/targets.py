"""Where results are to go, looked at before the work whose results they are. Imports nothing heavy."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from keras_actrec.errors import UserError


def check_file(target: str | os.PathLike[str], option: str) -> None:
    """Raise a `UserError` where no file can be written.

    Args:
        target: the file; its folders need not be there yet.
        option: how it was set, such as "--out".
    """
    try:
        if Path(target).is_dir():
            raise UserError(f"{option} {target}: expected the name of a file, that is a folder.")
        if Path(target).exists() and not Path(target).is_file():
            raise UserError(f"{option} {target}: expected the name of a file, that is a device or the like.")
        _try(Path(target).parent)
    except OSError as error:
        raise _unwritable(target, option, error) from None


def check_folder(target: str | os.PathLike[str], option: str) -> None:
    """Make a folder, unless it is there; raise a `UserError` where it cannot be, or no file can be written into it."""
    try:
        Path(target).mkdir(parents=True, exist_ok=True)
        _try(Path(target))
    except FileExistsError:
        raise UserError(f"{option} {target}: expected a folder, that is a file.") from None
    except OSError as error:
        raise _unwritable(target, option, error) from None


def _try(folder: Path) -> None:
    """Write into a folder, or into the nearest above it that is there: only this tells what the system allows."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    with tempfile.TemporaryFile(dir=there):
        pass


def _unwritable(target: str | os.PathLike[str], option: str, error: OSError) -> UserError:
    return UserError(f"{option} {target}: cannot write there ({error.strerror}); name another place.")
