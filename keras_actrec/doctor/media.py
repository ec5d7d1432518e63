"""Checks of what videos, archives and downloads need."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence

from keras_actrec.data.fetch import rar_tool
from keras_actrec.doctor.finding import Finding, error, ok, warning
from keras_actrec.doctor.machine import Machine

OLD_DAYS = 180
"""From this age on yt-dlp often fails: the sites that it knows have changed."""

_DECODING = """
import io, av, numpy as np
for codec, kind in {kinds!r}.items():
    memory = io.BytesIO()
    with av.open(memory, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    memory.seek(0)
    with av.open(memory) as container:
        if sum(1 for _ in container.decode(video=0)) == 3: print(codec)
"""
_KINDS = {"libx264": "mp4", "mpeg4": "avi", "libvpx-vp9": "webm"}


def decoding(machine: Machine) -> Finding:
    """Check that PyAV writes and reads H.264, MPEG-4 and VP9."""
    done = machine.run_python(_DECODING.format(kinds=_KINDS), timeout_sec=60)
    missing = [codec for codec in _KINDS if codec not in done.out.split()]
    if missing:
        message = f"PyAV does not write and read {', '.join(missing)} ({done.last_words})"
        return error("decoding", message, "Install PyAV's own build anew: pip install --force-reinstall av==18.1.0")
    return ok("decoding", "PyAV writes and reads H.264, MPEG-4 and VP9")


def ffmpeg(machine: Machine) -> Finding:
    """Check the programs ffmpeg and ffprobe; training decodes without them."""
    missing = [name for name in ("ffmpeg", "ffprobe") if machine.which(name) is None]
    cure = "Install it: sudo apt-get install ffmpeg (macOS: brew install ffmpeg)."
    if missing:
        return warning("ffmpeg", f"no {' and no '.join(missing)}; fetch and inspect want them", cure)
    done = machine.run(["ffmpeg", "-version"])
    if done.code != 0:
        return warning("ffmpeg", f"ffmpeg does not start: {done.last_words}", cure)
    version = re.match(r"ffmpeg version (\S+)", done.out)
    return ok("ffmpeg", f"ffmpeg {version[1] if version else ''}".strip())


def rar(machine: Machine) -> Finding:
    """Check for a program that unpacks RAR archives, as which HMDB-51 and UCF-101 come."""

    def run(command: Sequence[str]) -> tuple[int, str]:
        done = machine.run(command)
        return done.code, done.out

    found = rar_tool.find(run)
    if found:
        return ok("rar", f"{found} unpacks RAR archives")
    programs = ", ".join(rar_tool.PROGRAMS)
    message = f"none of {programs} reads RAR here; HMDB-51 and UCF-101 come as RAR archives, which fetch unpacks"
    return warning("rar", message, "Install one: sudo apt-get install unar (macOS: brew install unar).")


def yt_dlp(machine: Machine) -> Finding:
    """Check yt-dlp, by which Kinetics is fetched, and its age."""
    version = machine.version("yt-dlp")
    if version is None:
        return warning(
            "yt-dlp", "yt-dlp is not installed; fetch wants it for Kinetics", "Install it: pip install yt-dlp"
        )
    date = re.match(r"(\d{4})\.(\d{1,2})\.(\d{1,2})", version)
    age_days = (datetime.date.today() - datetime.date(*map(int, date.groups()))).days if date else 0
    if age_days > OLD_DAYS:
        message = f"yt-dlp {version} is {age_days} days old; sites change, and old versions fail"
        return warning("yt-dlp", message, "Install the newest one: pip install --upgrade yt-dlp")
    return ok("yt-dlp", f"yt-dlp {version}")
