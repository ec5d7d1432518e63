"""The actor's work, without Ray: processes that start, end, are ended, and do not outlive who looks after them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from keras_actrec.cluster.guardian import PARENT, PYTHON, Guardian, Job, MissingFolderError


def job(folder: Path, script: str, *words: str, **options: object) -> Job:
    return Job((PYTHON, "-c", script, *words), str(folder), "console.txt", {"GREETING": "hello"}, **options)


def wait_for_text(path: Path) -> str:
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return path.read_text()


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while not is_gone(pid):
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.02)


def test_a_process_runs_in_the_folder_and_its_output_and_exit_code_are_kept(tmp_path: Path) -> None:
    (tmp_path / "console.txt").write_text("before\n")
    script = "import os, sys, keras_actrec; print(os.getcwd(), os.environ['GREETING'], sys.argv[1]); sys.exit(3)"
    guardian = Guardian()
    started = guardian.start(job(tmp_path, script, PARENT), node="n0")
    assert guardian.wait() == 3
    assert started.node == "n0" and started.pid > 0
    text = (tmp_path / "console.txt").read_text()
    assert text == f"before\n{tmp_path} hello {os.getpid()}\n", "appended, with this process as the parent"


def test_threads_are_not_limited_by_rays_own_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    guardian = Guardian()
    guardian.start(job(tmp_path, "import os; print(os.environ.get('OMP_NUM_THREADS'))"), node="n0")
    guardian.wait()
    assert (tmp_path / "console.txt").read_text() == "None\n"


def test_a_stopped_process_is_ended_with_all_that_it_has_started(tmp_path: Path) -> None:
    script = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    guardian = Guardian()
    started = guardian.start(job(tmp_path, script), node="n0")
    child = int(wait_for_text(tmp_path / "console.txt"))
    codes: list[int | None] = []
    waiting = threading.Thread(target=lambda: codes.append(guardian.wait()))
    waiting.start()
    os.kill(started.pid, signal.SIGSTOP)
    guardian.end()
    waiting.join(10)
    assert codes == [-signal.SIGKILL]
    wait_until_gone(child)
    guardian.end()


def test_a_node_without_the_shared_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingFolderError, match=r"no folder .*nowhere; it must be on a disk that all nodes share"):
        Guardian().start(job(tmp_path / "nowhere", "pass"), node="n0")


def test_absolute_paths_need_no_common_working_folder(tmp_path: Path) -> None:
    guardian = Guardian()
    script = "import os; print(os.getcwd())"
    console = str(tmp_path / "console.txt")
    guardian.start(Job((PYTHON, "-c", script), str(tmp_path / "nowhere"), console, {}), node="n0")
    assert guardian.wait() == 0
    assert (tmp_path / "console.txt").read_text() == f"{tmp_path}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends the process")
@pytest.mark.parametrize("stopped", [False, True])
def test_a_process_does_not_outlive_its_actor(tmp_path: Path, stopped: bool) -> None:
    script = (
        "import sys, time\n"
        "from keras_actrec.cluster.guardian import Guardian, Job\n"
        f"job = Job(('{{python}}', '-c', 'print(1, flush=True); import time; time.sleep(600)'), {str(tmp_path)!r}, "
        "'console.txt', {})\n"
        "print(Guardian().start(job, node='n0').pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    actor = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pid = int(actor.stdout.readline())
    wait_for_text(tmp_path / "console.txt")
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    actor.kill()
    actor.wait()
    actor.stdout.close()
    wait_until_gone(pid)


def test_a_process_whose_actor_is_gone_already_does_not_begin(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "keras_actrec.cluster.bound", "1", "touch", tmp_path / "begun"], check=False
    )
    assert done.returncode == 1
    assert not (tmp_path / "begun").exists()


def test_standard_input_stays_open_where_it_is_wanted(tmp_path: Path) -> None:
    script = "import os, select; print(bool(select.select([0], [], [], 0.2)[0]), flush=True)"
    for keeps, ended in ((True, "False\n"), (False, "True\n")):
        (tmp_path / "console.txt").unlink(missing_ok=True)
        guardian = Guardian()
        guardian.start(job(tmp_path, script, keeps_stdin=keeps), node="n0")
        guardian.wait()
        assert (tmp_path / "console.txt").read_text() == ended
