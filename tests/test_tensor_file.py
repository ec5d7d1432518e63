"""Files of arrays: what is said when they cannot be written."""

import errno
import subprocess
from pathlib import Path

import numpy as np
import pytest

from keras_actrec import tensor_file


def test_a_full_disk_is_told_as_such_and_the_old_file_stays(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        path = tmp_path / "a.safetensors"
        tensor_file.save(path, {"a": np.zeros(1000)}, {})
        with pytest.raises(OSError, match="No space left") as caught:
            tensor_file.save(path, {"a": np.zeros(10**6)}, {})
        assert caught.value.errno == errno.ENOSPC
        assert tensor_file.load(path)[0]["a"].shape == (1000,)
        assert list(tmp_path.iterdir()) == [path]
    finally:
        subprocess.run(["umount", tmp_path], check=True)
