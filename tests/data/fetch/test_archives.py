"""What an archive holds, whatever kind it is and whatever it calls its files."""

from collections.abc import Callable
from pathlib import Path

import pytest
from made_up import rar, tar, zipped

from keras_actrec.data.fetch import archives, rar_tool
from keras_actrec.errors import UserError

rarfile = pytest.importorskip("rarfile")

FILES = {"top/wave/a.avi": b"alpha" * 400, "top/wave/b.avi": b"beta" * 9000, "c.txt": b"gamma"}
MAKERS = {"tar": tar, "zip": zipped, "rar": rar}


def contents(path: Path, work: Path) -> dict[tuple[str, str], bytes]:
    return {(one.folder, one.name): one.store(work / "stored").read_bytes() for one in archives.walk(path, work)}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_by_its_contents_not_its_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "download"
    path.write_bytes(MAKERS[kind](FILES))
    assert contents(path, tmp_path) == {
        ("wave", "a.avi"): FILES["top/wave/a.avi"],
        ("wave", "b.avi"): FILES["top/wave/b.avi"],
        ("", "c.txt"): b"gamma",
    }


@pytest.mark.parametrize("outer", MAKERS)
@pytest.mark.parametrize("inner", MAKERS)
def test_archives_within_archives(tmp_path: Path, outer: str, inner: str) -> None:
    """As HMDB-51 is packed: a RAR of RARs; a flat one within gives its own name for the folder."""
    path = tmp_path / "all"
    suffix = {"tar": "tar.gz"}.get(inner, inner)
    path.write_bytes(
        MAKERS[outer](
            {f"x/wave.{suffix}": MAKERS[inner]({"a.avi": b"1"}), f"y.{suffix}": MAKERS[inner]({"jump/b.avi": b"2"})}
        )
    )
    assert contents(path, tmp_path) == {("wave", "a.avi"): b"1", ("jump", "b.avi"): b"2"}
    assert sorted(one.name for one in tmp_path.iterdir()) == ["all", "stored"]


@pytest.mark.parametrize("kind", MAKERS)
def test_a_damaged_archive_is_named(tmp_path: Path, kind: str) -> None:
    whole = MAKERS[kind]({"a.avi": bytes(range(256)) * 3000, "b.avi": b"b" * 3000})
    for number, broken in enumerate([whole[: len(whole) // 2], whole[:40] + b"\x55" * 40 + whole[80:]]):
        path = tmp_path / f"{number}.{kind}"
        path.write_bytes(broken)
        with pytest.raises(UserError, match=rf"{number}\.{kind}"):
            contents(path, tmp_path)


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_text("<html>too many downloads of this file</html>")
    with pytest.raises(UserError, match=r"a\.rar cannot be used: it is no tar, zip or RAR archive"):
        contents(tmp_path / "a.rar", tmp_path)


@pytest.mark.parametrize("outer", MAKERS)
def test_a_damaged_archive_within_one_is_told_by_the_one_that_somebody_knows(tmp_path: Path, outer: str) -> None:
    (tmp_path / "all").write_bytes(MAKERS[outer]({"wave.zip": b"PK\x03\x04 and no more"}))
    with pytest.raises(archives.DamagedArchiveError, match=rf"{tmp_path}/all cannot be used: wave\.zip in it: File is"):
        contents(tmp_path / "all", tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["all"]


def encrypted(content: bytes) -> bytes:
    """A zip whose first file says that it is encrypted."""
    made = bytearray(zipped({"a.avi": content}))
    for place in (6, made.rindex(b"PK\x01\x02") + 8):
        made[place] |= 1
    return bytes(made)


def unknown_method(content: bytes) -> bytes:
    """A zip whose first file is compressed in a way that nobody knows."""
    made = bytearray(zipped({"a.avi": content}))
    for place in (8, made.rindex(b"PK\x01\x02") + 10):
        made[place] = 97
    return bytes(made)


@pytest.mark.parametrize(("make", "why"), [(encrypted, "encrypted"), (unknown_method, "compression method")])
def test_what_the_readers_cannot_do_is_a_sentence(tmp_path: Path, make: Callable[[bytes], bytes], why: str) -> None:
    (tmp_path / "a.zip").write_bytes(make(b"x"))
    with pytest.raises(archives.UnusableArchiveError, match=rf"a\.zip cannot be used: .*{why}"):
        contents(tmp_path / "a.zip", tmp_path)


def test_no_archive_writes_where_it_says(tmp_path: Path) -> None:
    """Names are only compared: a file that would leave the folder is just one that nobody wants."""
    inside = tmp_path / "inside"
    inside.mkdir()
    for kind, make in MAKERS.items():
        path = inside / kind
        path.write_bytes(make({"../../evil.avi": b"x", "/evil.avi": b"y"}))
        assert {name for _, name in contents(path, inside)} == {"evil.avi"}
    assert [one.name for one in tmp_path.iterdir()] == ["inside"]


def test_links_in_a_tar_are_passed_over(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("wave/a.avi")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert contents(tmp_path / "a.tar", tmp_path) == {}


def without_tools(monkeypatch: pytest.MonkeyPatch, *but: str) -> None:
    """Let rarfile find none of its programs but some."""
    monkeypatch.setattr(rarfile, "CURRENT_SETUP", None)
    monkeypatch.setattr(rar_tool, "_ASKED", {name: words for name, words in rar_tool._ASKED.items() if name in but})


def test_a_missing_rar_tool_is_told_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where bsdtar is there, which rarfile calls wrongly, and 7-Zip without its RAR part."""
    without_tools(monkeypatch)
    with pytest.raises(UserError, match="no tool here; install unrar or unar"):
        archives.need_rar_tool()
    (tmp_path / "a.rar").write_bytes(rar({"wave/a.avi": b"x"}, method=0x33))
    with pytest.raises(
        UserError, match=r"a\.rar cannot be used: a compressed RAR archive, and no tool is here; install"
    ):
        contents(tmp_path / "a.rar", tmp_path)
    (tmp_path / "b.rar").write_bytes(rar({"wave/a.avi": b"x"}))
    assert contents(tmp_path / "b.rar", tmp_path) == {("wave", "a.avi"): b"x"}  # stored: no tool is needed


def test_a_tool_is_one_that_says_that_it_works() -> None:
    def found(**here: tuple[int, str]) -> str | None:
        return rar_tool.find(lambda command: here.get(f"_{command[0]}", (127, "")))

    assert found() is None
    assert found(_unrar=(1, ""), _unar=(0, "")) == "unar"
    assert found(_bsdtar=(0, ""), **{"_7z": (0, "zip"), "_7zz": (0, "zip\n   Rar5")}) == "7zz"


@pytest.mark.parametrize("tool", ["unrar", "unar", "7z", "7zz"])
def test_the_tools_read_what_we_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    """Through the tool, as compressed files are read, not by rarfile's own reader of stored ones."""
    without_tools(monkeypatch, tool)
    if not rar_tool.choose():
        pytest.skip(f"{tool} is not installed, or does not know RAR")
    monkeypatch.setattr(rarfile, "FORCE_TOOL", True)
    path = tmp_path / "a.rar"
    path.write_bytes(rar({"wave/a.avi": b"alpha" * 400}))
    assert contents(path, tmp_path) == {("wave", "a.avi"): b"alpha" * 400}
