"""Which pictures can be left out: exactly those that FFmpeg's own parsers call unreferenced."""

import io

import av
import cv2
import numpy as np
import pytest
from av.video.frame import PictureType

from keras_actrec.data.bitstream import droppable


def packets(codec: str, container: str, **options: str) -> tuple[av.VideoStream, list[av.Packet], list[str]]:
    """Encode 40 pictures; return the packets and the type (I, P, B) of the pictures in decoding order."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (160, 240, 3), np.uint8), (0, 0), 2)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as write:
        stream = write.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.gop_size = 15
        stream.options = options
        for i in range(40):
            picture = np.ascontiguousarray(texture[i : i + 64, 2 * i : 2 * i + 96])
            write.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        write.mux(stream.encode(None))
    buffer.seek(0)
    read = av.open(buffer)
    stream = read.streams.video[0]
    found = [packet for packet in read.demux(stream) if packet.size]
    kinds = {
        frame.pts: PictureType(frame.pict_type).name
        for packet in [*found, None]
        for frame in stream.codec_context.decode(packet)
    }
    return stream, found, [kinds[packet.pts] for packet in found]


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_h264_without_pyramid(container: str) -> None:
    """Without a pyramid the B pictures are those that nothing refers to."""
    stream, found, kinds = packets("libx264", container, bf="2", **{"x264-params": "b-pyramid=none:weightp=0"})
    test = droppable("h264", stream.codec_context.extradata)
    assert [test(packet) for packet in found] == [kind == "B" for kind in kinds]
    assert kinds.count("B") > 10


def test_h264_with_pyramid() -> None:
    """With a pyramid some of the B pictures are referred to."""
    stream, found, kinds = packets("libx264", "mp4", bf="3", **{"x264-params": "b-pyramid=strict:b-adapt=0"})
    test = droppable("h264", stream.codec_context.extradata)
    dropped = [test(packet) for packet in found]
    assert 0 < sum(dropped) < kinds.count("B")
    assert not any(drop and kind != "B" for drop, kind in zip(dropped, kinds, strict=True))


@pytest.mark.parametrize("container", ["avi", "mp4"])
def test_mpeg4(container: str) -> None:
    stream, found, kinds = packets("mpeg4", container, bf="2")
    test = droppable("mpeg4", stream.codec_context.extradata)
    assert [test(packet) for packet in found] == [kind == "B" for kind in kinds]
    assert kinds.count("B") > 10


def test_parameter_sets_are_kept() -> None:
    slice_alone = b"\x00\x00\x00\x02\x01\xff"
    test = droppable("h264", b"\x01\x64\x00\x1f\xff")
    assert test(slice_alone)
    assert not test(b"\x00\x00\x00\x02\x67\xff" + slice_alone)
    assert not test(b"\x00\x00\x00\x02\x41\xff")


@pytest.mark.parametrize("codec", ["h264", "mpeg4", "vp9"])
@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00\x01", b"\x00\x00\x01\xb6", bytes(9), b"\xff" * 9])
def test_rubbish_is_kept(codec: str, data: bytes) -> None:
    assert not droppable(codec, None)(data)
    assert not droppable(codec, b"\x01\x64\x00\x1f\xff")(data)
