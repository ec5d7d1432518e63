"""The receipt in a rendered folder: version of the generator, settings, and whether it is done."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.config import StickActions
from keras_actrec.data import motion_store
from keras_actrec.errors import UserError

GENERATOR = "stick-actions"
VERSION = 1
"""Raised whenever equal settings give other files than before."""

NAME = "receipt.json"
LOCK = ".render.lock"


@dataclasses.dataclass(frozen=True)
class Receipt:
    """What a rendered folder says about itself.

    Attributes:
        settings: what it was rendered with.
        complete: every file is there.
        manifest_sha256: of `manifest.csv`; None while it is not complete.
        counts: number of clips per split of the first fold.
    """

    settings: StickActions
    complete: bool = False
    manifest_sha256: str | None = None
    counts: dict[str, int] = dataclasses.field(default_factory=dict)

    def write(self, root: Path) -> None:
        """Publish the receipt."""
        document = {"generator": GENERATOR, "version": VERSION} | vars(self)
        files.write_json(root / NAME, document | {"settings": self.settings.model_dump(mode="json")})


def read(root: Path, settings: StickActions) -> Receipt | None:
    """Return the receipt of a folder, or None when nothing was rendered there yet.

    Raises:
        UserError: the folder holds something else; nothing in it is touched.
    """
    if not (root / NAME).exists():
        _refuse_other_files(root)
        return None
    try:
        document = files.read_json(root / NAME)
        found = {"generator": document["generator"], "version": document["version"], **document["settings"]}
        complete, manifest_sha256, counts = (document[key] for key in ("complete", "manifest_sha256", "counts"))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise UserError(f"{root / NAME} is no receipt of {GENERATOR}; {_what_to_do(root)}") from None
    wanted = {"generator": GENERATOR, "version": VERSION, **settings.model_dump(mode="json")}
    if found != wanted:
        raise UserError(f"{root} holds another rendering: {_differences(found, wanted)}; {_what_to_do(root)}")
    return Receipt(settings, complete, manifest_sha256, counts)


def _refuse_other_files(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise UserError(
            f"expected a folder to render {GENERATOR} into, but {root} is a file; choose another data.root."
        )
    ours = {LOCK, motion_store.FOLDER}
    strangers = sorted(entry.name for entry in root.iterdir() if entry.name not in ours) if root.is_dir() else []
    if strangers:
        raise UserError(
            f"{root} holds files that {GENERATOR} did not render, such as {strangers[0]}; "
            "choose an empty or a new folder as data.root."
        )


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    names = [name for name in wanted | found if found.get(name) != wanted.get(name)]
    return ", ".join(f"{name} is {found.get(name)!r} there and {wanted.get(name)!r} is wanted" for name in names)


def _what_to_do(root: Path) -> str:
    return f"choose another data.root, or delete {root} yourself to have it rendered again."
