"""Letting other threads go on while TensorFlow waits for the other processes of its cluster.

TensorFlow 2.17 makes that call, `TFE_EnableCollectiveOps`, without giving up Python's lock: all threads stand still,
for an hour if need be. No sign of life would be given or read, and a process that dies just then would let the others
hang. ctypes calls the same function of the same library, and gives the lock up.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python import pywrap_tfe

_NAME = "TFE_EnableCollectiveOps"
_LIBRARIES = ("libtensorflow_cc.so.2", "libtensorflow_cc.2.dylib")
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    _NAME: (None, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]),
    "TF_NewStatus": (ctypes.c_void_p, []),
    "TF_GetCode": (ctypes.c_int, [ctypes.c_void_p]),
    "TF_Message": (ctypes.c_char_p, [ctypes.c_void_p]),
    "TF_DeleteStatus": (None, [ctypes.c_void_p]),
}


@contextlib.contextmanager
def threads_go_on() -> Iterator[None]:
    """While the block runs TensorFlow waits for its cluster without holding up the threads of this process.

    Where its library is not found, as in another version, TensorFlow does it in its own way.
    """
    library = _library()
    own = getattr(pywrap_tfe, _NAME, None)
    if library is None or own is None:
        yield
        return
    setattr(pywrap_tfe, _NAME, lambda context, definition: _enable(library, context, definition))
    try:
        yield
    finally:
        setattr(pywrap_tfe, _NAME, own)


def _library() -> ctypes.CDLL | None:
    """Return TensorFlow's library, which is loaded already, with the functions that are used here."""
    found = [path for name in _LIBRARIES if (path := Path(tf.sysconfig.get_lib(), name)).exists()]
    try:
        library = ctypes.CDLL(str(found[0]))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (IndexError, OSError, AttributeError):
        return None
    return library


def _enable(library: ctypes.CDLL, context: Any, definition: bytes) -> None:
    """Call the function with the context's handle, a capsule, and raise TensorFlow's error if there is one."""
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    status = library.TF_NewStatus()
    try:
        getattr(library, _NAME)(get_pointer(context, None), definition, len(definition), status)
        code = library.TF_GetCode(status)
        if code:
            message = library.TF_Message(status).decode(errors="replace")
            raise tf.compat.v1.errors.exception_type_from_error_code(code)(None, None, message)
    finally:
        library.TF_DeleteStatus(status)
