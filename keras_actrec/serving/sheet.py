"""Lines of answers: printed, or written to a file that is published at the end, also of work that was interrupted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from keras_actrec import files


class Sheet:
    """Takes answers as they come, while it is open.

    Args:
        target: a file; None: lines are told.
        heading: lines before all answers.
        tell: prints a line.

    Attributes:
        answers: how many came.
    """

    def __init__(self, target: str | None, heading: Sequence[str], tell: Callable[[str], None]) -> None:
        self._target, self._heading, self._tell = target, heading, tell
        self._put: Callable[[Sequence[str]], None] = self._tell_all
        self.answers = 0

    def add(self, lines: Sequence[str]) -> None:
        """Take the lines of an answer."""
        self._put(lines)
        self.answers += 1

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Take answers; where the block fails, or is interrupted, those before that are published all the same."""
        if self._target is None:
            self._put(self._heading)
            yield
            return
        failure: BaseException | None = None
        with files.publish(self._target) as temporary, temporary.open("wb", buffering=0) as file:
            writer = _Writer(file)
            self._put = writer.put
            self._put(self._heading)
            try:
                yield
            except BaseException as error:
                if not self.answers:
                    raise
                failure = error
            writer.end()
        if failure is not None:
            raise failure

    def _tell_all(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._tell(line)


class _Writer:
    """Writes lines at once, so that not even a kill loses those before it; half a line is taken back at the end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._whole = file, 0

    def put(self, lines: Sequence[str]) -> None:
        left = "".join(f"{line}\n" for line in lines).encode()
        while left:
            left = left[self._file.write(left) :]
        self._whole = os.lseek(self._file.fileno(), 0, os.SEEK_CUR)

    def end(self) -> None:
        self._file.truncate(self._whole)
