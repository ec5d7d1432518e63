"""Kinetics out of lists, class archives, parts and folders, through FiftyOne's knowledge of them."""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from made_up import Film, annotations, class_archives, identity, kinetics, tar, zipped
from stand_in import StandIn

from keras_actrec.config import DataConfig
from keras_actrec.config.fetch import FetchConfig
from keras_actrec.data.collections import load_manifest
from keras_actrec.data.fetch import bring
from keras_actrec.data.fetch.bring import Fetched
from keras_actrec.data.manifest import read_csv
from keras_actrec.errors import UserError

pytest.importorskip("rarfile")
pytest.importorskip("fiftyone.utils.kinetics")

CLASSES = {"playing harp": 6, "windsurfing": 4, "bowling": 5}


def fetch(to: Path, mirror: str | Path, version: str = "600", **settings: Any) -> Fetched:
    settings = {"interval_sec": 0, "wait_sec": 0.01, "attempts": 3, **settings}
    return bring.fetch(FetchConfig(dataset=f"kinetics{version}", to=str(to), mirror=str(mirror), **settings))


def clips(film: Film, split: str, label: str, without: tuple[int, ...] = ()) -> dict[str, bytes]:
    """The files of a class: cut already, as the archives hold them."""
    word = "validate" if split == "val" else split
    numbers = [number for number in range(CLASSES[label]) if number not in without]
    return {f"{identity(word, label, n)}_000001_000003.mp4": film(n, seconds=2) for n in numbers}


def archived(hosts: StandIn, film: Film, version: str) -> None:
    """A stand-in with the archives of all classes."""
    kinetics(hosts, CLASSES, film, version)
    content = {f"{split}/{label}": clips(film, split, label) for split in ("train", "val") for label in CLASSES}
    class_archives(hosts, list(CLASSES), content, version)


def per_class(root: Path) -> Mapping[tuple[str, str], int]:
    return Counter((clip.split, clip.label) for clip in read_csv(root / "manifest.csv", 1))


@pytest.mark.parametrize("version", ["600", "700", "700-2020"])
def test_class_archives_give_a_balanced_subset(tmp_path: Path, hosts: StandIn, film: Film, version: str) -> None:
    """`classes` on a fresh folder is a KeyError in FiftyOne; 700's folders have wrong names there."""
    archived(hosts, film, version)
    asked = ("windsurfing", "playing harp")
    fetched = fetch(tmp_path / "out", hosts.url, version, classes=asked, per_class={"train": 3, "validation": 2})
    assert per_class(tmp_path / "out") == {
        (split, label): n for split, n in (("train", 3), ("test", 2)) for label in asked
    }
    assert fetched.listing.totals["train"].official == 10
    for clip in read_csv(tmp_path / "out/manifest.csv", 1):
        assert clip.path.startswith(f"{clip.split}/{clip.label}/")
        assert (tmp_path / "out" / clip.path).is_file()
    tars = [path for path in hosts.requests if "train" in path or "/val/" in path]
    assert len(tars) == 4  # two classes in two splits: nobody else's archive is asked for


def test_all_of_some_classes_on_a_fresh_folder(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    archived(hosts, film, "600")
    fetched = fetch(tmp_path / "out", hosts.url, classes=("bowling",))
    assert per_class(tmp_path / "out") == {("train", "bowling"): 5, ("test", "bowling"): 5}
    assert fetched.listing.coverage == {"train": 1.0, "test": 1.0}


def test_a_class_that_lost_videos_keeps_its_number_while_it_can(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    kinetics(hosts, CLASSES, film, "600")
    whole = {f"val/{label}": clips(film, "val", label) for label in CLASSES}
    lost = {f"train/{label}": clips(film, "train", label, without=(0, 2, 3)) for label in CLASSES}
    class_archives(hosts, list(CLASSES), whole | lost, "600")
    fetched = fetch(tmp_path / "out", hosts.url, per_class=2)
    train = fetched.listing.counts["train"]
    assert {label: (count.requested, count.present) for label, count in train.items()} == {
        "playing harp": (2, 2), "windsurfing": (2, 1), "bowling": (2, 2)
    }  # fmt: skip
    assert fetched.listing.coverage == {"train": 5 / 6, "test": 1.0}
    assert per_class(tmp_path / "out")["train", "windsurfing"] == 2  # the dead one is listed, and lowers the coverage
    assert set(fetched.receipt["reasons"]) == {"not in the archive"}


def test_a_missing_archive_costs_its_class_alone(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    archived(hosts, film, "600")
    hosts.always["/kinetics/600/train/bowling.tar.gz"] = 404
    fetched = fetch(tmp_path / "out", hosts.url, per_class=2)
    present = {label: count.present for label, count in fetched.listing.counts["train"].items()}
    assert present == {"bowling": 0, "playing harp": 2, "windsurfing": 2}


def in_parts(hosts: StandIn, film: Film, split: str, *parts: Mapping[str, bytes]) -> None:
    """A stand-in with the archives of a split of Kinetics-400, each of which may hold something of any class."""
    kinetics(hosts, CLASSES, film, "400")
    for number, content in enumerate(parts):
        hosts.put(f"/kinetics/400/{split}/part_{number}.tar.gz", tar(content))
    urls = (f"https://s3.amazonaws.com/kinetics/400/{split}/part_{number}.tar.gz\n" for number in range(len(parts)))
    hosts.put(f"/kinetics/400/{split}/k400_{split}_path.txt", "".join(urls).encode())
    hosts.put("/kinetics/400/replacement_for_corrupted_k400.tgz", tar({}))


def part_requests(hosts: StandIn) -> list[int]:
    return [hosts.requests[f"/kinetics/400/train/part_{number}.tar.gz"] for number in range(3)]


def test_parts_are_not_gone_through_again_once_a_class_is_complete(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    """Also those that a class found unreadable in a finished part keep their reason, and --retry looks there again."""
    parts = [clips(film, "train", label) for label in ("bowling", "windsurfing", "playing harp")]
    bad = sorted(parts[1])[0]
    whole, parts[1][bad] = parts[1][bad], b"no video"
    in_parts(hosts, film, "train", *parts)
    hosts.always["/kinetics/400/train/part_2.tar.gz"] = 503
    settings = {"via": "archives", "splits": ("train",)}
    with pytest.raises(UserError, match=r"server error \(5xx\)"):
        fetch(tmp_path / "out", hosts.url, "400", **settings)
    assert part_requests(hosts) == [1, 1, 3]
    del hosts.always["/kinetics/400/train/part_2.tar.gz"]
    fetched = fetch(tmp_path / "out", hosts.url, "400", **settings)
    assert part_requests(hosts) == [1, 1, 4]
    assert [entry["reason"] for entry in fetched.receipt["dead"]] == ["unreadable: not a video"]
    fetch(tmp_path / "out", hosts.url, "400", **settings)
    assert part_requests(hosts) == [1, 1, 4]
    in_parts(hosts, film, "train", parts[0], parts[1] | {bad: whole}, parts[2])
    again = bring.fetch(
        FetchConfig(dataset="kinetics400", to=str(tmp_path / "out"), mirror=hosts.url, interval_sec=0, **settings), True
    )
    assert again.listing.coverage == {"train": 1.0}


def test_the_parts_of_400_are_gone_through_once(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    for split in ("train", "val"):
        files = [pair for label in CLASSES for pair in clips(film, split, label).items()]
        in_parts(hosts, film, split, *(dict(files[part::2]) for part in range(2)))
    hosts.always["/kinetics/400/val/part_1.tar.gz"] = 503
    with pytest.raises(UserError, match=r"could not be had: server error \(5xx\)"):
        fetch(tmp_path / "out", hosts.url, "400", via="archives", per_class=3)
    del hosts.always["/kinetics/400/val/part_1.tar.gz"]
    fetch(tmp_path / "out", hosts.url, "400", via="archives", per_class=3)
    assert set(per_class(tmp_path / "out").values()) == {3}
    assert hosts.requests["/kinetics/400/train/part_0.tar.gz"] == 1
    fresh = tmp_path / "fresh"
    fetch(fresh, hosts.url, "400", via="archives", per_class=3)
    assert (fresh / "manifest.csv").read_bytes() == (tmp_path / "out/manifest.csv").read_bytes()
    listed = {clip.path for clip in read_csv(fresh / "manifest.csv", 1)}
    assert {path.relative_to(fresh).as_posix() for path in fresh.rglob("*.mp4")} == listed  # surplus ones are removed


def folder_of_everything(root: Path, film: Film, kind: str) -> Path:
    """What somebody may have on his disk already."""
    root.mkdir()
    lists = {split: annotations(split, CLASSES) for split in ("train", "validate")}
    if kind == "csv":
        for split, name in (("train", "train.csv"), ("validate", "val.csv")):
            with (root / name).open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["label", "youtube_id", "time_start", "time_end", "split", "is_cc"])
                writer.writerows(
                    [row["annotations"]["label"], name, 1, 3, split, 0] for name, row in lists[split].items()
                )
    else:
        packed = {f"kinetics400/{split}.json": json.dumps(rows).encode() for split, rows in lists.items()}
        (root / "kinetics400.zip").write_bytes(zipped(packed))
    for split in ("train", "val"):
        for label in CLASSES:
            files = clips(film, split, label)
            if kind == "csv":
                for name, content in files.items():
                    path = root / split / label.replace(" ", "_") / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
            else:
                (root / f"{split}-{label}.tar.gz").write_bytes(tar(files))
    return root


def test_a_folder_of_archives_and_one_of_videos_give_the_same(tmp_path: Path, film: Film) -> None:
    for kind in ("csv", "archives"):
        own = folder_of_everything(tmp_path / kind, film, kind)
        before = sorted(own.rglob("*"))
        fetch(tmp_path / f"out-{kind}", own, "400", per_class=2)
        assert sorted(own.rglob("*")) == before
    manifests = [(tmp_path / f"out-{kind}/manifest.csv").read_bytes() for kind in ("csv", "archives")]
    assert manifests[0] == manifests[1]
    assert set(per_class(tmp_path / "out-csv").values()) == {2}


def test_what_is_fetched_trains_by_manifest(tmp_path: Path, film: Film) -> None:
    own = folder_of_everything(tmp_path / "own", film, "csv")
    fetch(tmp_path / "out", own, "400", per_class=4)
    manifest = load_manifest(DataConfig(source="manifest", root=str(tmp_path / "out")), seed=0)
    assert manifest.classes == tuple(sorted(CLASSES))
    assert {split: len(manifest.split(split)) for split in ("train", "validation", "test")} == {
        "train": 9, "validation": 3, "test": 12
    }  # fmt: skip


def test_another_origin_is_asked_anew(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    """What one folder lacks is not dead for all times."""
    own = folder_of_everything(tmp_path / "own", film, "csv")
    shutil.rmtree(own / "train" / "bowling")
    assert fetch(tmp_path / "out", own, "400", per_class=2).listing.counts["train"]["bowling"].present == 0
    whole = folder_of_everything(tmp_path / "whole", film, "csv")
    assert fetch(tmp_path / "out", whole, "400", per_class=2).listing.counts["train"]["bowling"].present == 2


def test_mistakes_are_sentences(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    archived(hosts, film, "600")
    with pytest.raises(UserError, match=r"Kinetics-600 has no class 'wind surfing'\. Did you mean 'windsurfing'"):
        fetch(tmp_path / "a", hosts.url, classes=("wind surfing",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds neither kinetics600.tar.gz nor an official list of train \(train.json"):
        fetch(tmp_path / "b", tmp_path / "empty")
    hosts.put("/deepmind-media/Datasets/kinetics600.tar.gz", tar({"kinetics600/train.json": b'{"x": {"label": "y"}}'}))
    with pytest.raises(UserError, match=r"train.json is no official list of Kinetics \(KeyError.*was deleted, and"):
        fetch(tmp_path / "c", hosts.url)
    hosts.put(
        "/deepmind-media/Datasets/kinetics600.tar.gz",
        tar({"kinetics600/train.json": json.dumps(annotations("train", CLASSES)).encode()}),
    )
    with pytest.raises(UserError, match=r"has no list of validation, expected validate\.json"):
        fetch(tmp_path / "c", hosts.url)  # what was useless is not there any more
    evil = annotations("train", {"../../outside": 1})
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil/train.json").write_text(json.dumps(evil))
    with pytest.raises(UserError, match="no path of a video"):
        fetch(tmp_path / "e", tmp_path / "evil", splits=("train",))


def test_a_page_in_place_of_lists_does_not_stay(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    archived(hosts, film, "600")
    path = "/deepmind-media/Datasets/kinetics600.tar.gz"
    whole = hosts.files[path]
    hosts.put(path, b"<html>come back later</html>")
    with pytest.raises(UserError, match=r"kinetics600\.tar\.gz cannot be used: it is no tar.* was deleted, and the"):
        fetch(tmp_path / "out", hosts.url, per_class=1)
    hosts.put(path, whole)
    fetch(tmp_path / "out", hosts.url, per_class=1)
    assert set(per_class(tmp_path / "out").values()) == {1}


def test_loose_lists_of_several_versions_are_told_apart(tmp_path: Path) -> None:
    own = tmp_path / "own"
    for version, label in (("kinetics400", "bowling"), ("K600", "windsurfing"), ("kinetics_700-2020", "playing harp")):
        (own / version).mkdir(parents=True)
        (own / version / "train.json").write_text(json.dumps(annotations("train", {label: 2})))

    def classes(version: str) -> set[str]:
        return set(fetch(tmp_path / version, own, version, splits=("train",)).listing.counts["train"])

    assert [classes(version) for version in ("400", "600", "700-2020")] == [
        {"bowling"}, {"windsurfing"}, {"playing harp"}
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"nor an official list of train .*train.json is another version's"):
        classes("700")
    for version in ("400", "600"):
        (own / f"{version}-lists").mkdir()
        shutil.move(own / {"400": "kinetics400", "600": "K600"}[version] / "train.json", own / f"{version}-lists")
    shutil.rmtree(tmp_path / "600")
    with pytest.raises(UserError, match=r"which is the list of train of Kinetics-600: .*400-lists.* or .*600-lists"):
        classes("600")
    shutil.rmtree(own / "400-lists")
    assert classes("600") == {"windsurfing"}


def test_a_broken_line_does_not_spoil_the_lists_for_good(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    """FiftyOne leaves half an archive under the final name and takes it for the whole in each later call."""
    archived(hosts, film, "600")
    hosts.misbehave("/deepmind-media/Datasets/kinetics600.tar.gz", *["truncated"] * 1, 429, 503)
    hosts.ranges = False
    with pytest.raises(UserError, match=r"lists of Kinetics-600 \(kinetics600.tar.gz\) cannot be had: server error"):
        fetch(tmp_path / "out", hosts.url, per_class=1)
    fetch(tmp_path / "out", hosts.url, per_class=1)
    assert set(per_class(tmp_path / "out").values()) == {1}
