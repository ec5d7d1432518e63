"""The command `fetch`: public collections from their hosts. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from keras_actrec.errors import UserError

if TYPE_CHECKING:
    from keras_actrec.config.fetch import FetchConfig
    from keras_actrec.data.fetch.bring import Fetched

MOST_REASONS = 8
"""Reasons that are printed; the receipt has all."""
_FLAGS = {
    "dataset": ("NAME", str, "kinetics400, kinetics600, kinetics700, kinetics700-2020, hmdb51 or ucf101"),
    "to": ("FOLDER", str, "target folder (default: datasets/NAME)"),
    "fold": ("K", int, "official fold of hmdb51 or ucf101 (default: 1)"),
    "classes": ("A,B,...", lambda text: [word.strip() for word in text.split(",")], "classes, by their official names"),
    "per-class": ("N", int, "videos per class and split (default: all)"),
    "splits": ("A,B", lambda text: text.split(","), "official lists, such as train,validation (default: all usable)"),
    "seed": ("N", int, "decides which videos of a class come first (default: 0)"),
    "workers": ("N", int, "videos at a time (default: 4)"),
    "cookies": ("FILE", str, "cookie file for yt-dlp"),
    "proxy": ("URL", str, "proxy for everything"),
}


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Bring a balanced, reproducible subset of a public collection, with a manifest that training uses.

    Kinetics, HMDB-51 and UCF-101 come from the hosts that FiftyOne names. The same command goes on where it stopped.
    What could not be had is listed with its reason in the receipt; docs/fetch.md tells of licences, mirrors and traps.

    Example: python -m keras_actrec fetch --dataset kinetics400 --classes "playing harp,windsurfing" --per-class 20
    """
    parser.add_argument("--config", metavar="FILE", help="what to fetch, such as configs/data/ucf101.yaml")
    for name, (metavar, kind, text) in _FLAGS.items():
        parser.add_argument(f"--{name}", metavar=metavar, type=kind, help=text)
    parser.add_argument(
        "--from",
        dest="mirror",
        metavar="DIR|URL",
        help="folder of archives, lists or videos that are here already, or an address in place of the official hosts",
    )
    parser.add_argument("--retry", action="store_true", help="try again what failed for a reason that may have passed")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as fetch.height=240")


def run(options: argparse.Namespace) -> None:
    """Fetch as the options say and print what came."""
    config = read_options(options)
    from keras_actrec.data.fetch import bring  # imports decoders: a mistake in the options is told before that
    from keras_actrec.training.progress import Progress

    with Progress("fetching", unit="videos") as clips, Progress("archive", unit="MB") as archive:
        fetched = bring.fetch(config, options.retry, bring.Progresses(clips, archive))
    print("\n".join(summary(config, fetched)))
    if not any(count.present for count in fetched.listing.totals.values()):
        raise UserError(f"none of the videos could be had; {fetched.root}/receipt.json has the reasons.")
    print(f"fetched: {fetched.root}")


def read_options(options: argparse.Namespace) -> FetchConfig:
    """Return the configuration: the file, then the flags, then `key=value`.

    Raises:
        UserError: a mistake in one of them.
    """
    from keras_actrec.config.fetch import load_fetch_config

    given = {name.replace("-", "_"): getattr(options, name.replace("-", "_")) for name in [*_FLAGS, "mirror"]}
    flags = [f"fetch.{name}={json.dumps(value)}" for name, value in given.items() if value is not None]
    if options.config is None and options.dataset is None and not options.overrides:
        raise UserError("what should be fetched? Pass --config configs/data/NAME.yaml, or --dataset NAME.")
    return load_fetch_config(options.config, [*flags, *options.overrides]).fetch


def summary(config: FetchConfig, fetched: Fetched) -> list[str]:
    """Return what came, what did not, whose it is, and how to train with it, in lines."""
    return [*_table(fetched), *_losses(fetched), *fetched.notes, *_licence(fetched), _training(config, fetched)]


def _table(fetched: Fetched) -> list[str]:
    lines = [
        f"{'split':<12}{'classes':>9}{'official':>10}{'requested':>11}{'present':>9}{'coverage':>10}{'per class':>14}"
    ]
    for split, count in fetched.listing.totals.items():
        found = [one.present for one in fetched.listing.counts[split].values()]
        share = 100 * fetched.listing.coverage.get(split, 0.0)
        spread = f"{min(found)} to {max(found)}" if found else "-"
        numbers = f"{len(found):>9}{count.official:>10}{count.requested:>11}{count.present:>9}"
        lines.append(f"{split:<12}{numbers}{share:>8.1f} %{spread:>14}")
    return lines


def _losses(fetched: Fetched) -> list[str]:
    reasons = fetched.receipt["reasons"]
    if not reasons:
        return []
    most = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_REASONS]
    named = ", ".join(f"{count} {reason}" for reason, count in most)
    more = ", ..." if len(reasons) > MOST_REASONS else ""
    total = sum(reasons.values())
    return [f"not to be had: {total} video{'s' * (total > 1)} ({named}{more}); each is named in receipt.json"]


def _licence(fetched: Fetched) -> list[str]:
    licence = fetched.receipt["licence"]
    return [
        f"source: {fetched.receipt['sources']}; {licence['home']}",
        f"licence of the lists: {licence['lists']}",
        f"licence of the videos: {licence['videos']}",
    ]


def _training(config: FetchConfig, fetched: Fetched) -> str:
    fold = f" data.fold={config.fold}" if config.version is None else ""
    return f"train with: data.source=manifest data.root={fetched.root}{fold}"
