"""FiftyOne with a database: a throwaway one of our own, the user's, or the server that FIFTYONE_DATABASE_URI names."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_actrec.data.fiftyone_sets import mongo
from keras_actrec.errors import UserError, did_you_mean

URI = "FIFTYONE_DATABASE_URI"
_SETTINGS = {
    "FIFTYONE_DO_NOT_TRACK": "1",
    "FIFTYONE_DATABASE_VALIDATION": "false",  # its server is older than what FiftyOne would like, and works
    "FIFTYONE_SHOW_PROGRESS_BARS": "false",
    "FIFTYONE_PLUGINS_CACHE_ENABLED": "true",
}
_LOCAL = "127.0.0.1,localhost"


@contextlib.contextmanager
def database(*, own: bool) -> Iterator[Any]:
    """Yield FiftyOne, connected. Once a process has connected, it stays with that database.

    Args:
        own: a database of our own, which is gone after the block; else the user's. `FIFTYONE_DATABASE_URI` goes first.

    Raises:
        UserError: FiftyOne or its MongoDB is missing or does not start.
    """
    prepare()
    if os.environ.get(URI) or not own:
        yield _connect()
        return
    with mongo.running() as address:
        os.environ[URI] = address
        try:
            yield _connect()
        finally:
            disconnect()
            del os.environ[URI]


def load(fiftyone: Any, name: str) -> Any:
    """Return a dataset of the database.

    Raises:
        UserError: there is none of that name.
    """
    names = fiftyone.list_datasets()
    if name not in names:
        known = did_you_mean(name, names) if names else " The database is empty."
        raise UserError(f"FiftyOne's database ({where(fiftyone)}) has no dataset '{name}'.{known}")
    return fiftyone.load_dataset(name)


def saved_view(dataset: Any, name: str) -> Any:
    """Return a view that was saved with a dataset.

    Raises:
        UserError: there is none of that name.
    """
    views = dataset.list_saved_views()
    if name not in views:
        known = did_you_mean(name, views) if views else " It has no saved views."
        raise UserError(f"the FiftyOne dataset '{dataset.name}' has no saved view '{name}'.{known}")
    return dataset.load_saved_view(name)


def where(fiftyone: Any) -> str:
    """Return which database it is, for a sentence; no password in it."""
    uri = fiftyone.config.database_uri
    return uri.rpartition("@")[2].removeprefix("mongodb://") if uri else fiftyone.config.database_dir


def prepare() -> None:
    """Set what FiftyOne reads when it is imported; talk with servers on this machine past any proxy."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), _LOCAL]))


def _connect() -> Any:
    try:
        import fiftyone
    except ImportError as error:
        raise UserError(
            f"FiftyOne is not installed ({error}): pip install -c requirements.txt 'keras_actrec[fiftyone]'"
        ) from None
    logging.getLogger("fiftyone").setLevel(logging.WARNING)
    fiftyone.config.database_uri = os.environ.get(URI) or fiftyone.config.database_uri
    try:
        fiftyone.list_datasets()
    except Exception as error:  # whatever pymongo, psutil or FiftyOne say when there is no server
        raise UserError(_why(error)) from error
    _check_folder(fiftyone)
    return fiftyone


def _why(error: Exception) -> str:
    told = " ".join(str(error).split())[:200]
    return f"FiftyOne cannot reach its database: {told}. Start the server that {URI} names, or unset it."


def _check_folder(fiftyone: Any) -> None:
    """Refuse the database of another folder: FiftyOne joins any that this user runs, whichever was asked for."""
    if fiftyone.config.database_uri:
        return
    from fiftyone.core.odm import database

    told = database.get_db_client().admin.command("getCmdLineOpts")
    found = told.get("parsed", {}).get("storage", {}).get("dbPath")
    if found and Path(found).resolve() != Path(fiftyone.config.database_dir).resolve():
        raise UserError(
            f"FiftyOne's database in {fiftyone.config.database_dir} was asked for, but one in {found} is running and "
            f"FiftyOne joins that; end the program that uses it first, or name a server in {URI}."
        )


def disconnect() -> None:
    """Close the connection, so that FiftyOne does not wait for a server that is gone when the process ends."""
    from fiftyone.core.odm import database

    database._disconnect()
