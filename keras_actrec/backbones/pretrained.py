"""Give a network its weights: random, from ImageNet, or from a file."""

from __future__ import annotations

import contextlib
import socket
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras

from keras_actrec.errors import UserError

SUFFIXES = (".weights.h5", ".h5", ".keras")
CONNECTION_TIMEOUT_SEC = 60.0
DOWNLOAD_FAILURES = ("URL fetch failure", "Incomplete or corrupted file")
UNREADABLE = (OSError, ValueError, KeyError, zipfile.BadZipFile)

Build = Callable[[str | None], keras.Model]
Copy = Callable[[keras.Model, keras.Model], None]


def copy_all(source: keras.Model, target: keras.Model) -> None:
    """Copy every weight between two networks of the same graph."""
    target.set_weights(source.get_weights())


def load(network: keras.Model, weights: str, original: Build | None = None, copy: Copy = copy_all) -> None:
    """Load weights into a network, in place.

    Args:
        network: the network to fill.
        weights: "none", "imagenet" or the path of a file.
        original: builds the network as keras.applications has it, with `weights` "imagenet" or None; None if there is
            no such thing.
        copy: copies the weights of such an original into `network`.

    Raises:
        UserError: when the weights cannot be had or do not fit; the message says what was tried and what to do.
    """
    if weights == "none":
        return
    if weights != "imagenet":
        _load_file(network, Path(weights), original, copy)
    elif original is None:
        raise UserError(f"the backbone '{network.name}' has no ImageNet weights; set weights: none or a file's path.")
    else:
        copy(_download(network.name, original), network)


def _download(name: str, original: Build) -> keras.Model:
    try:
        with _connection_timeout():
            return original("imagenet")
    except Exception as error:
        # Keras raises a bare Exception when a download fails; only its text tells it from a defect.
        if not isinstance(error, OSError) and not any(text in str(error) for text in DOWNLOAD_FAILURES):
            raise
        raise UserError(
            f"the ImageNet weights of '{name}' could not be downloaded ({error}). Connect to the network, put the file "
            "into ~/.keras/models ($KERAS_HOME/models), or set weights: none, or weights: PATH of a local file "
            f"({' / '.join(SUFFIXES)}) of the network without its top."
        ) from None


def read_model(path: Path) -> keras.Model:
    """Load a whole model of a `.keras` file, ready for inference.

    Raises:
        UserError: if there is no such file, or it holds no functional model.
    """
    _check_file(path)
    try:
        model = keras.saving.load_model(path, compile=False)
    except (*UNREADABLE, TypeError) as error:
        raise UserError(f"{path} is no model that Keras can load: {_first_line(error)}") from error
    if not getattr(model, "inputs", None):
        raise UserError(f"{path} does not hold a functional model, but {type(model).__name__}.")
    return model


def _check_file(path: Path) -> None:
    if not str(path).endswith(SUFFIXES):
        raise UserError(f"weights: '{path}' is neither 'imagenet' nor 'none' nor a file {' / '.join(SUFFIXES)}.")
    if not path.is_file():
        raise UserError(f"there is no weights file {path}; give an existing one, or weights: none.")


def _load_file(network: keras.Model, path: Path, original: Build | None, copy: Copy) -> None:
    _check_file(path)
    try:
        with warnings.catch_warnings(record=True) as said:
            network.load_weights(path)
    except UNREADABLE as error:
        # What was said of this attempt, layer by layer, says nothing of the next one.
        reason = error
    else:
        for warning in said:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        return
    if original is not None and copy is not copy_all:
        with contextlib.suppress(*UNREADABLE):
            source = original(None)
            source.load_weights(path)
            copy(source, network)
            return
    raise UserError(
        f"{path} does not hold the weights of '{network.name}' without its top: {_first_line(reason)}"
    ) from reason


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


@contextlib.contextmanager
def _connection_timeout() -> Iterator[None]:
    """Keras' downloads wait for ever on a silent host unless sockets have a default timeout."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECTION_TIMEOUT_SEC)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
