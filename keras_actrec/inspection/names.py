"""What a dataset and its saved views may be called: FiftyOne makes an address ("slug") of each name, of a-z, 0-9 and -.

Other characters are left out of it, so a name may have no address at all, and two names may have the same.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection
from typing import Any

from keras_actrec.errors import UserError


def slug_of(name: str) -> str | None:
    """Return FiftyOne's address of a name; None where it has none."""
    from fiftyone.core.utils import to_slug

    try:
        return to_slug(name)
    except ValueError:
        return None


def check(fiftyone: Any, name: str, *, overwrite: bool) -> None:
    """Refuse a name that a new dataset cannot have.

    Args:
        fiftyone: connected.
        name: of the dataset.
        overwrite: it may take the place of one of the same name.

    Raises:
        UserError: it has no address, or it or its address is taken.
    """
    slug = slug_of(name)
    if slug is None:
        raise UserError(
            f"FiftyOne cannot keep a dataset named '{name}': a name needs a letter from a to z or a digit, "
            "and may have 1551 characters; choose another name."
        )
    owner = _owner(fiftyone, name, slug)
    if owner == name and not overwrite:
        raise UserError(f"FiftyOne's database has a dataset '{name}' already; choose another name, or --overwrite.")
    if owner not in (None, name):
        raise UserError(
            f"FiftyOne's database has a dataset '{owner}', whose address ({slug}) '{name}' would have, too; choose "
            "another name."
        )


def usable(fiftyone: Any, name: str) -> str:
    """Return the name, or one like it that has an address and is free: others may use the database, too."""
    numbered = (f"{name}-{number}" for number in itertools.count(os.getpid()))
    return next(one for one in itertools.chain((name,), numbered) if _is_free(fiftyone, one))


def distinct(name: str, slugs: Collection[str | None]) -> str:
    """Return the name, with a number behind it where its address is among `slugs`."""
    numbered = (f"{name} ({number})" for number in itertools.count(2))
    return next(one for one in itertools.chain((name,), numbered) if slug_of(one) not in slugs)


def _is_free(fiftyone: Any, name: str) -> bool:
    slug = slug_of(name)
    return slug is not None and _owner(fiftyone, name, slug) is None


def _owner(fiftyone: Any, name: str, slug: str) -> str | None:
    """Return the dataset that has a name, else the one that has its address; None: there is none."""
    known = fiftyone.list_datasets()
    return name if name in known else next((other for other in known if slug_of(other) == slug), None)
