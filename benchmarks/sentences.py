"""How a benchmark ends where its user has made a mistake: with the sentence, as the commands of the package do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from keras_actrec.errors import UserError


def leave(main: Callable[[], int]) -> NoReturn:
    """Run a benchmark and leave with its exit status; a `UserError` becomes "error: ..." and 1."""
    try:
        sys.exit(main())
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
