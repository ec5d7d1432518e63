"""What only a store on S3 must stand: a service that fails, other writers, other readers of the same machine."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from test_companion import live, make_config

from keras_actrec.errors import UserError
from keras_actrec.swarm import bucket, bucket_store
from keras_actrec.swarm.bucket import Bucket, StoreError
from keras_actrec.swarm.journal import StorageFullError
from keras_actrec.swarm.places import MissingPositionError
from keras_actrec.swarm.positions import DamagedPositionError, digest_of
from keras_actrec.swarm.state import Kind
from keras_actrec.swarm.store import DirectoryStore, MemoryStore

if TYPE_CHECKING:
    from conftest import Service

AFTER, BEFORE, BEST = Kind.AFTER, Kind.BEFORE, Kind.BEST
VECTOR = np.arange(12, dtype=np.float32) / 7


def faults(**shares: float) -> object:
    from bad_s3 import Faults

    return Faults(**shares)


def object_at(service: Service, digest: str) -> str:
    """Return the key of the only object with a digest."""
    (name,) = [name for name in service.bucket().sizes() if digest in name]
    return "/".join([*service.address.split("/")[3:], name])


def client() -> object:
    import boto3

    return boto3.client("s3")


def test_particles_of_one_machine_fetch_a_position_once(s3: Service, tmp_path: Path) -> None:
    writer = s3.open(tmp_path / "elsewhere")
    digest = writer.put(0, AFTER, 1, [VECTOR], 12)
    writer.alias(0, (AFTER, 1), (BEST, 1))
    s3.server.faults, s3.server.seen = faults(slow=1.0), type(s3.server.seen)()
    readers = [s3.open(tmp_path / "here") for _ in range(4)]
    found: list[bytes] = []

    def read(number: int) -> None:
        kinds = (AFTER, BEST) if number % 2 else (BEST, AFTER)
        found.extend(readers[number].get(0, kind, 1, digest).array.tobytes() for kind in kinds)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for store in (writer, *readers):
        store.close()
    assert found == [VECTOR.tobytes()] * 8
    assert s3.server.reads(digest) == 1


def test_the_writer_does_not_fetch_what_it_has_made(s3: Service, tmp_path: Path) -> None:
    store = s3.open(tmp_path)
    digest = store.put(0, AFTER, 1, [VECTOR], 12)
    store.get(0, AFTER, 1, digest).verify()
    store.close()
    assert s3.server.reads(digest) == 0


@pytest.mark.parametrize(
    "swarm", [{"dynamic": "dynamic_1"}, {"dynamic": "none"}, {"dynamic": "dynamic_1", "exchange": "bfloat16"}]
)
def test_particles_on_a_bad_service_that_are_cut_off_end_with_the_bits_of_a_quiet_swarm(
    s3: Service, tmp_path: Path, swarm: dict[str, object]
) -> None:
    config = make_config(**swarm)
    half = "exchange" in swarm
    quiet, _ = live(MemoryStore(), config, iter(()), [MemoryStore() if half else None for _ in range(2)])
    s3.server.faults = faults(error_500=0.1, error_503=0.1, lost=0.1, cut=0.1, slow=0.1, slow_sec=0.05)
    store = s3.open(tmp_path, precision=config.swarm.exchange)
    exact = [DirectoryStore.weights_only(tmp_path / str(index)) if half else None for index in range(2)]
    got, _ = live(store, config, iter([None, 1, 2, 0, 1, 2, 3, None] * 2), exact)
    store.close()
    assert [one.values.tobytes() for one in got] == [one.values.tobytes() for one in quiet]
    assert {"error_500", "error_503", "lost", "slow"} <= set(s3.server.struck)


def test_one_cache_serves_swarms_of_two_precisions(s3: Service, tmp_path: Path) -> None:
    vector = np.ones(12, np.float32)  # the same checksum, as bfloat16 holds it
    stores = [s3.open(tmp_path, precision=precision) for precision in ("float32", "bfloat16", "float32")]
    digests = {store.put(index, AFTER, 1, [vector], 12) for index, store in enumerate(stores)}
    (digest,) = digests
    for number in (0, 1, 2, 1):
        for reader in stores:
            position = reader.get(number, AFTER, 1, digest)
            position.verify()
            assert position.values.tobytes() == vector.tobytes()
    for store in stores:
        store.close()


def test_a_writer_that_was_given_up_cannot_spoil_what_was_announced(s3: Service, tmp_path: Path) -> None:
    first, late, reader = (s3.open(tmp_path / name) for name in ("first", "late", "reader"))
    announced = first.put(0, AFTER, 1, [VECTOR], 12)
    other = late.put(0, AFTER, 1, [VECTOR + 1], 12)
    assert reader.get(0, AFTER, 1, announced).array.tobytes() == VECTOR.tobytes()
    assert reader.digest(0, AFTER, 1) == other
    first.alias(0, (AFTER, 1), (BEST, 1), announced)
    assert reader.digest(0, BEST, 1) == announced
    for store in (first, late, reader):
        store.close()


def test_what_is_announced_is_waited_for(s3: Service, tmp_path: Path) -> None:
    writer, reader = s3.open(tmp_path / "writer"), s3.open(tmp_path / "reader")
    writer.put(0, AFTER, 1, [VECTOR - 1], 12)
    timer = threading.Timer(0.3, lambda: writer.put(0, AFTER, 1, [VECTOR], 12))
    timer.start()
    position = reader.get(0, AFTER, 1, digest_of(VECTOR))
    timer.join()
    assert position.array.tobytes() == VECTOR.tobytes()
    for store in (writer, reader):
        store.close()


def test_a_damaged_object_is_refused_and_not_kept(s3: Service, tmp_path: Path) -> None:
    writer, reader = s3.open(tmp_path / "writer"), s3.open(tmp_path / "reader", patience_sec=0.3)
    digest = writer.put(0, AFTER, 1, [VECTOR], 12)
    key, folder = object_at(s3, digest), tmp_path / "reader" / "cache"
    whole = client().get_object(Bucket="swarms", Key=key)["Body"].read()
    for damaged in (whole[:-1] + b"\x99", whole[:-1], whole[:100], b""):
        client().put_object(Bucket="swarms", Key=key, Body=damaged)
        with pytest.raises(DamagedPositionError):
            reader.get(0, AFTER, 1, digest)
        assert not list(folder.glob("*.safetensors")) + list(folder.glob(".*.safetensors"))
    client().put_object(Bucket="swarms", Key=key, Body=whole)
    reader.get(0, AFTER, 1, digest).verify()
    with pytest.raises(MissingPositionError, match=r"'after' of particle-1 in round 2 at s3://swarms/"):
        reader.get(0, AFTER, 2, digest_of(VECTOR + 9))
    for store in (writer, reader):
        store.close()


def test_a_full_store_stops_with_a_sentence_and_loses_nothing(s3: Service, tmp_path: Path) -> None:
    store = s3.open(tmp_path)
    digest = store.put(0, AFTER, 1, [VECTOR], 12)
    s3.server.faults = faults(full=1.0)
    with pytest.raises(StorageFullError, match=r"s3://swarms/.* nothing that was committed is lost"):
        store.put(0, AFTER, 2, [VECTOR], 12)
    with pytest.raises(StorageFullError):
        store.alias(0, (AFTER, 1), (BEST, 1))
    assert not store.has(0, AFTER, 2)
    store.get(0, AFTER, 1, digest).verify()
    s3.server.faults = None
    store.put(0, AFTER, 2, [VECTOR], 12)
    store.alias(0, (AFTER, 1), (BEST, 1))
    store.close()


def test_a_full_disk_of_this_machine_is_told_and_passes(s3: Service, tmp_path: Path, small_disk: Path) -> None:
    vector = np.ones(200_000, np.float32)
    writer, reader = s3.open(tmp_path), s3.open(small_disk)
    digest = writer.put(0, AFTER, 1, [vector], vector.size)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_600_000))
    with pytest.raises(StorageFullError, match=f"{small_disk}.* free some space"):
        reader.get(0, AFTER, 1, digest)
    with pytest.raises(StorageFullError, match=f"{small_disk}.* free some space"):
        reader.put(0, AFTER, 2, [vector], vector.size)
    assert not list((small_disk / "cache").glob("*.safetensors")) + list((small_disk / "cache").glob(".*.safetensors"))
    assert not reader.has(0, AFTER, 2)
    ballast.unlink()
    reader.get(0, AFTER, 1, digest).verify()
    for store in (writer, reader):
        store.close()


def test_a_large_position_goes_in_parts_and_what_is_left_of_one_is_swept(
    s3: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "PART_BYTES", 5 << 20)
    vector = np.random.default_rng(0).standard_normal(3_000_000, np.float32)
    s3.server.faults = faults(error_500=0.1, lost=0.1, cut=0.1)
    writer, reader = s3.open(tmp_path / "writer"), s3.open(tmp_path / "reader")
    digest = writer.put(1, AFTER, 1, [vector], vector.size)
    assert reader.get(1, AFTER, 1, digest).array.tobytes() == vector.tobytes()
    s3.server.faults = None
    assert ("POST", f"/swarms/{object_at(s3, digest)}") in s3.server.seen, "it was not sent in parts"
    writer.sweep()
    where = {"Bucket": "swarms", "Key": object_at(s3, digest).replace("after", "before")}
    begun = client().create_multipart_upload(**where)["UploadId"]
    client().upload_part(**where, UploadId=begun, PartNumber=1, Body=bytes(1000))
    assert writer.sweep(0) == 0, "somebody else's"
    assert writer.sweep(1) == 1000
    assert writer.sweep() == 0
    reader.get(1, AFTER, 1).verify()
    for store in (writer, reader):
        store.close()


def test_a_bucket_that_is_not_there_is_told_at_once(s3: Service) -> None:
    with pytest.raises(StoreError, match=r"s3://no-such-bucket/x .*the bucket is not there: check swarm.store"):
        Bucket("s3://no-such-bucket/x", 60).sizes()
    with pytest.raises(StoreError, match="bucket is not there"):
        Bucket("s3://no-such-bucket/x", 60).copy("a", "b")


@pytest.mark.parametrize("address", ["s3://", "gs://bucket/x", "bucket"])
def test_an_address_is_s3_and_a_bucket(address: str) -> None:
    with pytest.raises(UserError, match="expected an address as s3://BUCKET/FOLDER"):
        Bucket(address, 1)


def test_a_service_that_is_gone_or_hangs_is_given_up_with_a_sentence(
    s3: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = s3.open(tmp_path)
    digest = store.put(0, AFTER, 1, [VECTOR], 12)
    monkeypatch.setattr(bucket, "ANSWER_SEC", 0.3)
    sentence = r"has not answered for 0 s .*AWS_ENDPOINT_URL, and resume the swarm; nothing that was committed is lost"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        with pytest.raises(StoreError, match=sentence):
            s3.bucket(patience_sec=0.1).sizes()
    with pytest.raises(StoreError, match=sentence):
        s3.bucket(patience_sec=0.1).sizes()
    store.get(0, AFTER, 1, digest).verify()  # what is here needs no service
    store.close()


def test_refusals_are_told_at_once(s3: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(StoreError, match=r"refuses \(.*credentials.*check swarm.store, credentials"):
        s3.bucket().sizes()


def test_without_s3fs_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError, match=r"s3://swarms/x: s3:// needs s3fs.*pip install s3fs"):
        Bucket("s3://swarms/x", 1)


def test_foreign_objects_do_no_harm(s3: Service, tmp_path: Path) -> None:
    store = s3.open(tmp_path)
    digest = store.put(0, AFTER, 1, [VECTOR], 12)
    folder = object_at(s3, digest).rpartition("/")[0]
    foreign = [f"{folder}/{name}" for name in ("notes.txt", "after-000001.safetensors", "after-1-1-aa.safetensors")]
    for key in foreign:
        client().put_object(Bucket="swarms", Key=key, Body=b"mine")
    assert store.rounds(0, AFTER) == [1]
    store.prune(9, {})
    assert store.rounds(0, AFTER) == []
    assert {one["Key"] for one in client().list_objects_v2(Bucket="swarms", Prefix=folder)["Contents"]} == set(foreign)
    store.close()


def test_many_objects_are_listed_page_by_page(s3: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = s3.bucket()
    names = [bucket_store.Published(bucket_store.Place(0, AFTER, n), 1, "ab" * 16).name for n in range(1, 8)]
    for name in names:
        client().put_object(Bucket="swarms", Key=f"{s3.address.removeprefix('s3://swarms/')}/{name}", Body=b"1")
    ask = opened._files.call_s3
    monkeypatch.setattr(opened._files, "call_s3", lambda method, **question: ask(method, MaxKeys=3, **question))
    assert opened.sizes() == dict.fromkeys(names, 1)
