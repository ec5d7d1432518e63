"""The configuration of `fetch`: which videos of a public collection are brought, from where, and how patiently."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from keras_actrec.config.reading import load_config
from keras_actrec.config.section import Count, NonNegative, Positive, Section

KINETICS = {
    "kinetics400": "400",
    "kinetics600": "600",
    "kinetics700": "700",
    "kinetics700-2020": "700-2020",
}
"""Our names of the versions of Kinetics -> FiftyOne's."""

Split = Literal["train", "validation", "test"]


class FetchConfig(Section):
    """What is fetched."""

    dataset: Literal["kinetics400", "kinetics600", "kinetics700", "kinetics700-2020", "hmdb51", "ucf101"]
    """The collection."""
    to: str | None = None
    """Target folder; default: datasets/DATASET."""
    fold: Annotated[int, Field(ge=1, le=3)] = 1
    """`hmdb51`, `ucf101`: the official fold for which a subset is chosen. Without `per_class` all three are listed."""
    classes: tuple[str, ...] = ()
    """Classes by their official names; empty: all."""
    per_class: Count | dict[Split, Count] | None = None
    """Videos per class and split, or a number for each split; not given: all that the official lists name."""
    splits: tuple[Split, ...] = ()
    """Official lists; empty: all whose labels are public (Kinetics: train and validation; else: train and test)."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Decides which videos of a class come first."""
    via: Literal["auto", "youtube", "archives"] = "auto"
    """Kinetics: video by video from YouTube, or from the hosted archives. `auto`: archives where there is one for each
    class (600, 700, 700-2020)."""
    mirror: str | None = None
    """A folder, or an http(s) address, that is asked in place of the official hosts (docs/fetch.md)."""
    keep_archives: bool = False
    """Keep downloaded archives in TO/.fetch once their videos are unpacked."""
    workers: Count = 4
    """Videos at a time."""
    interval_sec: NonNegative = 0.5
    """Least time between the starts of two requests, over all workers."""
    timeout_sec: Positive = 300.0
    """Longest time for one attempt at one video; and for an archive, the longest silence."""
    attempts: Count = 5
    """How often a video or an archive is tried when what went wrong may pass."""
    wait_sec: Positive = 2.0
    """Wait before the second attempt; it doubles with each, and a server's Retry-After counts where it is longer."""
    height: Annotated[int, Field(ge=16)] = 360
    """Greatest height of a video that is asked for, in pixels; what has none of that height comes larger."""
    clip_mb: NonNegative = 2.0
    """Guess of a video's size, for the check of free space beforehand; 0: no check."""
    cookies: str | None = None
    """Netscape cookie file for yt-dlp: videos that want an account or an age."""
    cookies_from_browser: str | None = None
    """Name of a browser whose cookies yt-dlp may read."""
    proxy: str | None = None
    """Proxy for everything, such as http://host:3128."""

    @property
    def target(self) -> Path:
        """The target folder."""
        return Path(self.to or f"datasets/{self.dataset}")

    @property
    def version(self) -> str | None:
        """FiftyOne's name of the version of Kinetics; None for other collections."""
        return KINETICS.get(self.dataset)

    @property
    def wanted_splits(self) -> tuple[Split, ...]:
        """The official lists that are asked for, in a fixed order."""
        known = ("train", "validation") if self.version else ("train", "test")
        return tuple(split for split in known if not self.splits or split in self.splits)

    def most_per_class(self, split: str) -> int | None:
        """Return how many videos of a class are wanted in a split; None: all."""
        return self.per_class.get(split) if isinstance(self.per_class, dict) else self.per_class

    @model_validator(mode="after")
    def _splits_with_labels(self) -> FetchConfig:
        known = {"train", "validation"} if self.version else {"train", "test"}
        counted = set(self.per_class) if isinstance(self.per_class, dict) else set()
        wrong = sorted((set(self.splits) | counted) - known)
        if wrong:
            why = "; its labels are not public" if self.version else ": there are a training and a test list"
            raise ValueError(f"{self.dataset} has no list '{wrong[0]}' that can be used{why}")
        if counted and counted != set(self.wanted_splits):
            raise ValueError(f"per_class: expected a number for each of {', '.join(self.wanted_splits)}")
        return self

    @model_validator(mode="after")
    def _mirror(self) -> FetchConfig:
        if self.mirror and self.mirror.startswith(("http://", "https://")) and not _names_a_host(self.mirror):
            raise ValueError(f"mirror: expected a folder or http://HOST:PORT/PATH, got {self.mirror}")
        return self

    @model_validator(mode="after")
    def _proxy(self) -> FetchConfig:
        if self.proxy and not self.proxy.startswith(("http://", "https://")):
            raise ValueError(f"proxy: expected http://HOST:PORT, got {self.proxy}; ffmpeg knows no other kind")
        return self

    @model_validator(mode="after")
    def _folds(self) -> FetchConfig:
        if self.version and self.fold != 1:
            raise ValueError(f"{self.dataset} has one official split; fold is {self.fold}")
        if not self.version and self.via == "youtube":
            raise ValueError(f"{self.dataset} comes as an archive; remove via: youtube")
        return self


def _names_a_host(address: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(address)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port that is no number, or half an IPv6 address
        return False


class FetchFile(Section):
    """A file under configs/data: a name, and what is fetched."""

    name: str = Field("fetch", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """A name for people."""
    fetch: FetchConfig


def load_fetch_config(path: str | Path | None, overrides: Sequence[str] = ()) -> FetchFile:
    """Read a configuration file of `fetch`, or none, and apply `fetch.key=value` overrides."""
    return load_config(path, overrides, FetchFile)
