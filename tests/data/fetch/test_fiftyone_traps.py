"""What FiftyOne 1.22.1's own functions do, against the stand-in: why `fetch` does not leave the work to them.

A test that fails here is good news: FiftyOne has mended something, and `keras_actrec.data.fetch` may become shorter.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fiftyone.utils.kinetics")

import fiftyone.utils.kinetics as fouk
import fiftyone.utils.youtube as fouy
import fiftyone.zoo.datasets.base as zoo
from made_up import Film, class_archives, hmdb51, kinetics
from stand_in import StandIn

CLASSES = {"bowling": 4, "playing harp": 4, "windsurfing": 4}


@pytest.fixture
def redirected(hosts: StandIn, film: Film, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """FiftyOne asks the stand-in in place of all hosts."""
    import eta.core.web as etaw

    plain = etaw.download_file

    def local(url: str, path: str | None = None, **settings: bool) -> None:
        plain(f"{hosts.url}/{url.split('/', 3)[3]}", path=path, **settings)

    monkeypatch.setattr(etaw, "download_file", local)
    for version in ("400", "600", "700"):
        kinetics(hosts, CLASSES, film, version)
        for split in ("train", "val"):
            for number in (version, "700_2020"):
                hosts.put(f"/kinetics/{number}/{split}/k{number}_{split}_path.txt", b"")
    class_archives(hosts, list(CLASSES), {"train/bowling": {"a.mp4": b"x"}}, "600")
    class_archives(hosts, list(CLASSES), {"train/bowling": {"a.mp4": b"x"}}, "700-2020")
    return hosts


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What FiftyOne would ask YouTube for; nothing can be had."""
    calls: list[dict] = []

    def none(urls: list[str], **settings: object) -> tuple[dict, dict]:
        calls.append({"urls": urls, **settings})
        return {}, dict.fromkeys(range(len(urls)), "Video unavailable")

    monkeypatch.setattr(fouy, "download_youtube_videos", none)
    return calls


def split(tmp_path: Path, version: str = "400", **settings: object) -> None:
    """Call FiftyOne as its zoo does."""
    scratch = str(tmp_path / "scratch")
    fouk.download_kinetics_split(str(tmp_path / "k/train"), "train", scratch_dir=scratch, version=version, **settings)


@pytest.mark.parametrize("version", ["600", "700"])
def test_classes_without_max_samples_on_a_fresh_folder(tmp_path: Path, redirected: StandIn, version: str) -> None:
    with pytest.raises(KeyError) as caught:
        split(tmp_path, classes=["bowling"], version=version)
    assert caught.value.args[0] in CLASSES


def test_archives_are_downloaded_and_never_unpacked(tmp_path: Path, redirected: StandIn) -> None:
    """The list of the files that were downloaded is returned empty."""
    info = fouk.KineticsDatasetInfo.build_for_version("600", str(tmp_path / "k/train"), str(tmp_path / "s"), "train")
    fouk.KineticsDatasetDownloader().download_classes(info, ["bowling"])
    assert (tmp_path / "s/bowling.tar.gz").exists()
    assert list((tmp_path / "k/train").iterdir()) == []


def test_unpacked_archives_of_700_get_folders_of_the_wrong_name(tmp_path: Path, redirected: StandIn) -> None:
    info = fouk.KineticsDatasetInfo.build_for_version("700", str(tmp_path / "k/train"), str(tmp_path / "s"), "train")
    path = tmp_path / "s/k700_train_001.tar.gz"
    path.write_bytes(redirected.files["/kinetics/700_2020/train/k700_train_001.tar.gz"])
    fouk.KineticsDatasetDownloader()._process_class_tars({"bowling": str(path)}, info)
    assert [path.name for path in (tmp_path / "k/train").iterdir()] == ["k700_train_001"]


def test_max_samples_is_filled_from_the_first_class(tmp_path: Path, redirected: StandIn, asked: list[dict]) -> None:
    split(tmp_path, classes=list(CLASSES), max_samples=4)
    assert asked[0]["max_videos"] == 4
    assert all("tbowl" in url for url in asked[0]["urls"][:4])


def test_workers_are_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[int] = []
    monkeypatch.setattr(fouy, "_parse_num_workers", lambda number, use_threads: seen.append(number) or 1)
    monkeypatch.setattr(fouy, "_download", lambda *_: ({}, {}))
    fouy.download_youtube_videos(["https://127.0.0.1/"], download_dir=str(tmp_path), num_workers=8)
    assert seen == [1]


def test_dead_videos_are_asked_for_in_every_call(tmp_path: Path, redirected: StandIn, asked: list[dict]) -> None:
    for _ in range(2):
        split(tmp_path, classes=["bowling"], max_samples=1, retry_errors=False)
    assert set(asked[1]["urls"]) == set(asked[0]["urls"])


@pytest.mark.slow
def test_a_seed_gives_another_choice_under_another_hash_seed(tmp_path: Path) -> None:
    """The list that is shuffled was made from a set: shown on the method that makes it."""
    script = (
        "import random, fiftyone.utils.kinetics as fouk\n"
        "manager = fouk.KineticsDatasetManager(None)\n"
        "manager.info = type('Info', (), {'class_sample_ids': lambda self, c: [f'id{n}' for n in range(50)],\n"
        "                                 'class_existing_sample_ids': lambda self, c: []})()\n"
        "ids = manager._get_remaining_ids('bowling')\n"
        "random.seed(51)\n"
        "random.shuffle(ids)\n"
        "print(ids[:3])"
    )
    found = set()
    for hash_seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": hash_seed, "HOME": str(tmp_path), "FIFTYONE_DO_NOT_TRACK": "1"}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
        found.add(done.stdout.splitlines()[-1])
    assert len(found) == 2


def test_fold_2_after_fold_1_is_fold_1(tmp_path: Path, redirected: StandIn, film: Film) -> None:
    videos, lists = hmdb51({"wave": 9}, film)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "hmdb51_org.rar").write_bytes(videos)
    (scratch / "test_train_splits.rar").write_bytes(lists)
    found = []
    for fold in (1, 2):
        zoo.HMDB51Dataset(fold=fold)._download_and_prepare(str(tmp_path / "hmdb51/test"), str(scratch), "test")
        found.append(sorted(path.name for path in (tmp_path / "hmdb51/test").rglob("*.avi")))
    assert found[0] == found[1]


def test_half_an_archive_is_left_under_the_final_name(tmp_path: Path, redirected: StandIn) -> None:
    redirected.ranges = False
    redirected.misbehave("/deepmind-media/Datasets/kinetics400.tar.gz", "truncated")
    errors = []
    for _ in range(2):
        with pytest.raises(Exception) as caught:
            split(tmp_path, max_samples=1)
        errors.append(caught.value)
    assert redirected.requests["/deepmind-media/Datasets/kinetics400.tar.gz"] == 1  # the second call took the half


def test_the_hint_at_a_missing_rar_tool_never_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import eta.core.utils as etau
    import rarfile
    from made_up import rar

    monkeypatch.setattr(rarfile, "CURRENT_SETUP", None)
    for tool in ("UNRAR_TOOL", "UNAR_TOOL", "BSDTAR_TOOL", "SEVENZIP_TOOL", "SEVENZIP2_TOOL"):
        monkeypatch.setattr(rarfile, tool, "/nowhere/tool")
    (tmp_path / "a.rar").write_bytes(rar({"a.avi": b"x"}, method=0x33))
    with pytest.raises(rarfile.RarCannotExec) as caught:
        etau.extract_rar(str(tmp_path / "a.rar"))
    assert "system package" not in str(caught.value)


def test_yt_dlp_is_no_declared_dependency() -> None:
    from importlib.metadata import requires

    assert not [line for line in requires("fiftyone") if "yt" in line.lower() and "dlp" in line.lower()]
