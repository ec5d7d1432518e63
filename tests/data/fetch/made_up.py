"""Small collections in the layout of the real hosts: lists, archives, RAR files, videos."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from stand_in import StandIn
from trees import video

START_SEC, END_SEC = 1, 3
"""The stretch of each clip of Kinetics."""
RATE = 10


class Film:
    """Makes videos and remembers them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, number: int, suffix: str = ".mp4", seconds: int = 4) -> bytes:
        """A video of so many seconds; the number decides its first brightness, so that no two are alike."""
        path = self._folder / f"{number % 7}-{seconds}{suffix}"
        if not path.exists():
            video(path, frames=RATE * seconds + number % 7, rate=RATE)
        return path.read_bytes()


def identity(split: str, label: str, number: int) -> str:
    """An identity of eleven characters, as YouTube's."""
    return f"{split[0]}{label.replace(' ', '')[:4]:_<4}-{number:05d}"


def annotations(split: str, classes: Mapping[str, int]) -> dict[str, dict]:
    """An official JSON list: class -> number of clips."""
    return {
        identity(split, label, number): {
            "annotations": {"label": label, "segment": [float(START_SEC), float(END_SEC)]},
            "duration": 2.0,
            "subset": split,
            "url": f"https://www.youtube.com/watch?v={identity(split, label, number)}",
        }
        for label, count in classes.items()
        for number in range(count)
    }


def tar(files: Mapping[str, bytes]) -> bytes:
    """A .tar.gz."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return whole.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A .zip."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return whole.getvalue()


def rar(files: Mapping[str, bytes], method: int = 0x30) -> bytes:
    """A RAR file of the fourth format whose files are stored, not compressed, whatever the method says."""
    parts = [b"Rar!\x1a\x07\x00", _block(0x73, 0, struct.pack("<HI", 0, 0))]
    for name, content in files.items():
        path = name.replace("/", "\\").encode()
        size = len(content)
        fields = struct.pack(
            "<IIBIIBBHI", size, size, 3, zlib.crc32(content), 0x5A8D0000, 20, method, len(path), 0o100644
        )
        parts += [_block(0x74, 0x8000, fields + path), content]
    return b"".join([*parts, _block(0x7B, 0x4000, b"")])


def _block(kind: int, flags: int, fields: bytes) -> bytes:
    """A header: its checksum, kind, flags, own size, fields (the first of a file's is the size of what follows)."""
    body = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
    return struct.pack("<H", zlib.crc32(body) & 0xFFFF) + body


def kinetics(hosts: StandIn, classes: Mapping[str, int], film: Film, version: str = "400") -> None:
    """Lists and pages of Kinetics: class -> number of clips, in each of training and validation."""
    name = f"kinetics{version.replace('-', '_')}"
    lists = {
        f"{name}/{split}.json": json.dumps(annotations(split, classes)).encode() for split in ("train", "validate")
    }
    lists[f"{name}/test.json"] = b"{}"
    hosts.put(f"/deepmind-media/Datasets/{name}.tar.gz", tar(lists))
    for page, number in pages(classes).items():
        hosts.put(page, film(number))


def pages(classes: Mapping[str, int]) -> dict[str, int]:
    """Path of each video's page -> a number of its own."""
    names = [
        identity(split, label, n) for split in ("train", "validate") for label in classes for n in range(classes[label])
    ]
    return {f"/watch?v={name}": number for number, name in enumerate(names)}


def class_archives(
    hosts: StandIn, classes: Sequence[str], files: Mapping[str, Mapping[str, bytes]], version: str
) -> None:
    """The archives of classes as FiftyOne names them: "train/CLASS" -> its files."""
    for key, content in files.items():
        split, label = key.split("/")
        number = sorted(classes).index(label) + 1
        part = f"600/{split}/{label}" if version == "600" else f"700_2020/{split}/k700_{split}_{number:03d}"
        hosts.put(f"/kinetics/{part.replace(' ', '%20')}.tar.gz", tar(content))


def hmdb51(classes: Mapping[str, int], film: Film) -> tuple[bytes, bytes]:
    """The RAR archives of HMDB-51, videos (one RAR for each class within) and lists of three folds."""
    lists: dict[str, bytes] = {}
    inner: dict[str, bytes] = {}
    for label, count in classes.items():
        names = [f"film{n}_{label}_f_cm_np1_fr_med_{n}.avi" for n in range(count)]
        inner[f"{label}.rar"] = rar({f"{label}/{name}": film(n, ".avi") for n, name in enumerate(names)})
        for fold in (1, 2, 3):
            tags = {name: (n + fold) % 3 for n, name in enumerate(names)}
            text = "".join(f"{name} {tag} \n" for name, tag in tags.items())
            lists[f"testTrainMulti_7030_splits/{label}_test_split{fold}.txt"] = text.encode()
    return rar(inner), rar(lists)


def ucf101(classes: Sequence[str], groups: int, film: Film) -> tuple[bytes, bytes]:
    """The archives of UCF-101: videos as RAR, lists as zip."""
    videos = {
        f"UCF-101/{label}/v_{label}_g{group:02d}_c01.avi": film(group, ".avi")
        for label in classes
        for group in range(1, groups + 1)
    }
    names = [name.removeprefix("UCF-101/") for name in videos]
    lists = {"ucfTrainTestlist/classInd.txt": "".join(f"{n} {label}\n" for n, label in enumerate(classes, 1))}
    for fold in (1, 2, 3):
        test = {name for name in names if int(name.split("_g")[1][:2]) % 3 == fold % 3}
        numbered = [f"{name} {1 + list(classes).index(name.split('/')[0])}\n" for name in names if name not in test]
        lists[f"ucfTrainTestlist/trainlist{fold:02d}.txt"] = "".join(numbered)
        lists[f"ucfTrainTestlist/testlist{fold:02d}.txt"] = "".join(f"{name}\n" for name in names if name in test)
    return rar(videos), zipped({name: text.encode() for name, text in lists.items()})
