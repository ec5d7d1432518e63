"""The folder of positions that a machine has fetched: whole files, fetched once, in bounded space."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.swarm import cache as module
from keras_actrec.swarm.cache import Cache
from keras_actrec.swarm.journal import StorageFullError
from keras_actrec.swarm.positions import DamagedPositionError, digest_of, open_position, write


class Source:
    """Gives positions by number, and counts how often each was fetched."""

    def __init__(self, size: int = 1000) -> None:
        self.size, self.fetched = size, []

    def vector(self, number: int) -> np.ndarray:
        return np.full(self.size, number, np.float32)

    def get(self, cache: Cache, number: int) -> np.ndarray:
        def fetch(path: Path) -> None:
            self.fetched.append(number)
            write(path, [self.vector(number)], self.size)

        return open_position(cache.get(digest_of(self.vector(number)), fetch)).array


def names(cache: Cache) -> set[str]:
    return {path.name for path in cache.folder.iterdir() if path.suffix == ".safetensors"}


def test_a_position_is_fetched_once_and_survives_the_process(tmp_path: Path) -> None:
    source = Source()
    for _ in range(2):
        cache = Cache(tmp_path / "cache", 10**9)
        for number in (1, 2, 1):
            np.testing.assert_array_equal(source.get(cache, number), source.vector(number))
    assert source.fetched == [1, 2]
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


def test_many_who_want_it_at_the_same_time_fetch_it_once(tmp_path: Path) -> None:
    source, barrier = Source(), threading.Barrier(6)

    def fetch(path: Path) -> None:
        time.sleep(0.2)
        source.fetched.append(7)
        write(path, [source.vector(7)], source.size)

    def want() -> None:
        cache = Cache(tmp_path, 10**9)
        barrier.wait(10)
        cache.get(digest_of(source.vector(7)), fetch)

    threads = [threading.Thread(target=want) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert source.fetched == [7]


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "other"])
def test_a_damaged_file_is_fetched_again(tmp_path: Path, damage: str) -> None:
    source, cache = Source(), Cache(tmp_path, 10**9)
    source.get(cache, 1)
    (path,) = tmp_path.glob("*.safetensors")
    content = path.read_bytes()
    other = tmp_path / "other"
    write(other, [source.vector(2)], source.size)
    changed = {"bit": content[:-1] + b"\x99", "cut": content[:-8], "empty": b"", "other": other.read_bytes()}
    path.write_bytes(changed[damage])
    fresh = Cache(tmp_path, 10**9)
    assert fresh.find(digest_of(source.vector(1))) is None
    path.write_bytes(changed[damage])
    np.testing.assert_array_equal(source.get(fresh, 1), source.vector(1))
    assert source.fetched == [1, 1]


def test_what_is_not_the_position_is_not_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10**9)
    with pytest.raises(DamagedPositionError):
        cache.get(digest_of(np.ones(5, np.float32)), lambda path: write(path, [np.zeros(5, np.float32)], 5))
    with pytest.raises(ZeroDivisionError):
        cache.get(digest_of(np.ones(5, np.float32)), lambda path: path.write_bytes(b"half") / 0)
    assert names(cache) == set()


def test_what_was_not_asked_for_longest_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECENT_SEC", 0.0)
    source, cache = Source(), Cache(tmp_path, 3 * (4096 + 4000) + 100)
    for number in (1, 2, 3, 1, 4):
        source.get(cache, number)
        time.sleep(0.02)
    assert len(names(cache)) == 3
    for number in (1, 3, 4):
        source.get(cache, number)
    assert source.fetched == [1, 2, 3, 4]


def test_what_was_just_asked_for_stays_even_beyond_the_limit(tmp_path: Path) -> None:
    source, cache = Source(), Cache(tmp_path, 1)
    for number in (1, 2, 3, 1, 2, 3):
        source.get(cache, number)
    assert source.fetched == [1, 2, 3]
    old = time.time() - 2 * module.RECENT_SEC
    for path in tmp_path.glob("*.safetensors"):
        os.utime(path, (old, path.stat().st_mtime))
    source.get(cache, 4)
    assert len(names(cache)) == 1


def test_what_killed_processes_left_is_removed_after_a_while(tmp_path: Path) -> None:
    source, cache = Source(), Cache(tmp_path, 10**9)
    with cache.scratch() as scratch:
        half, theirs = scratch.name, ("my-model.safetensors", "notes.txt")
    old, young, *foreign = (tmp_path / name for name in (half, half.replace("-", "0-"), *theirs))
    for path in (old, young, *foreign):
        path.write_bytes(b"half")
    for path in (old, *foreign):
        os.utime(path, (0, time.time() - 2 * module.ABANDONED_SEC))
    source.get(cache, 1)
    assert [path.exists() for path in (old, young, *foreign)] == [False, True, True, True]


def test_a_link_that_somebody_has_laid_where_all_may_write_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    assert module.usual_folder().parent.stat().st_mode & 0o777 == 0o700
    module.usual_folder().parent.rmdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / f"keras_actrec-{os.getuid()}").symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="is not a folder of this user"):
        module.usual_folder()


def test_on_a_full_disk_old_positions_make_room(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, cache = Source(200_000), Cache(small_disk / "cache", 10**9)
    source.get(cache, 1)
    source.get(cache, 2)
    with pytest.raises(StorageFullError, match="free some space"):
        source.get(cache, 3)  # the others were asked for just now
    assert source.fetched == [1, 2, 3, 3]
    assert len(names(cache)) == 2
    monkeypatch.setattr(module, "RECENT_SEC", 0.0)
    np.testing.assert_array_equal(source.get(cache, 3), source.vector(3))
    assert len(names(cache)) == 1


def test_where_locks_do_not_work_only_time_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "no locks available")

    monkeypatch.setattr(module.Lock, "acquire", refuse)
    source = Source()
    np.testing.assert_array_equal(source.get(Cache(tmp_path, 10**9), 1), source.vector(1))


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot use the folder .*file/cache.* set swarm.cache"):
        Cache(tmp_path / "file" / "cache", 1)
    if os.getuid() == 0:
        (tmp_path / "theirs").mkdir()
        os.chown(tmp_path / "theirs", 12345, 12345)
        with pytest.raises(UserError, match="belongs to another user"):
            Cache(tmp_path / "theirs", 1)
