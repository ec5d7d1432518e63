"""The command `serve`: a web application that says what videos show. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from keras_actrec.errors import UserError

if TYPE_CHECKING:
    from keras_actrec.serving.server.bounds import Bounds
    from keras_actrec.serving.server.examples import Example

TOKEN_VARIABLE = "ACTREC_TOKEN"
PORT = 8700


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Serve trained networks: a page to try videos on, and a JSON API.

    Listens on this machine alone, unless --host says otherwise; then a token is needed.

    Example: python -m keras_actrec serve --run runs/quickstart-20250101-120000-ab12
    """
    parser.add_argument(
        "--run",
        nargs="+",
        action="append",
        required=True,
        metavar="DIR",
        dest="runs",
        help="run directories to choose from",
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=PORT, metavar="P", help=f"0: any free one (default: {PORT})")
    parser.add_argument(
        "--token", metavar="T", help=f"password of page and API (default: the variable {TOKEN_VARIABLE}, if set)"
    )
    parser.add_argument("--keep", metavar="DIR", help="keep uploads and answers there (default: nothing is kept)")
    parser.add_argument(
        "--examples", metavar="DIR", help='clips that the page offers, or "none" (default: test clips, if at hand)'
    )
    _add_bounds(parser)
    _add_work(parser)


def _add_bounds(parser: argparse.ArgumentParser) -> None:
    bounds = parser.add_argument_group("bounds on an upload")
    bounds.add_argument("--max-mb", type=float, default=200.0, metavar="MB", help="size (default: 200)")
    bounds.add_argument("--max-video-sec", type=float, default=600.0, metavar="S", help="length (default: 600)")
    bounds.add_argument("--max-side-px", type=int, default=4096, metavar="PX", help="width, height (default: 4096)")
    bounds.add_argument(
        "--max-decode-sec", type=float, default=30.0, metavar="S", help="time to read one part of it (default: 30)"
    )
    bounds.add_argument(
        "--max-decode-mb", type=float, default=1000.0, metavar="MB", help="memory for that (default: 1000)"
    )


def _add_work(parser: argparse.ArgumentParser) -> None:
    work = parser.add_argument_group("work")
    work.add_argument(
        "--max-requests", type=int, default=32, metavar="N", help="under way or waiting; more get a 429 (default: 32)"
    )
    work.add_argument("--workers", type=int, metavar="N", help="processes that decode (default: one per core)")
    work.add_argument(
        "--batch-size", type=int, metavar="N", help="clips in one pass (default: what fits memory, up to 16)"
    )
    work.add_argument(
        "--batch-wait-ms", type=float, default=25.0, metavar="MS", help="wait for others to share a pass (default: 25)"
    )
    work.add_argument("--threshold", type=float, default=0.0, metavar="P", help='"unknown" below it (default: 0)')
    work.add_argument(
        "--end-sec", type=float, default=30.0, metavar="S", help="at the end, wait so long for answers (default: 30)"
    )


def run(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that are under way are answered first.

    Raises:
        UserError: a mistake in the options.
    """
    bounds = _bounds(options)
    token = options.token if options.token is not None else os.environ.get(TOKEN_VARIABLE)
    from keras_actrec.serving.server import application
    from keras_actrec.web.listening import listen
    from keras_actrec.web.security import require_token

    require_token(application.DOOR, options.host, token)
    directories = [directory for group in options.runs for directory in group]
    with listen(options.host, options.port, "--host ", "--port ") as connection:
        from keras_actrec.serving.server import models, running

        def opened(told: application.Counted) -> models.Models:
            return models.open_models(
                directories,
                most_clips=options.batch_size,
                least=options.threshold,
                wait_sec=options.batch_wait_ms / 1000,
                told=told,
                say=lambda line: print(line, flush=True),
            )

        app = application.create_app(
            opened,
            host=options.host,
            token=token,
            bounds=bounds,
            workers=options.workers or _cores(),
            keep=_folder(options.keep),
            offered=_offered(options, directories),
        )
        running.serve(app, connection, options.end_sec)


def _bounds(options: argparse.Namespace) -> Bounds:
    from keras_actrec.serving.server.bounds import MEGABYTE, Bounds

    for name in ("workers", "batch_size", "max_requests", "max_side_px"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')}: expected 1 or more, got {value}.")
    for name in ("max_mb", "max_video_sec", "max_decode_sec", "max_decode_mb", "end_sec"):
        if not getattr(options, name) > 0:
            raise UserError(f"--{name.replace('_', '-')}: expected more than 0, got {getattr(options, name):g}.")
    if not options.batch_wait_ms >= 0:
        raise UserError(f"--batch-wait-ms: expected 0 or more, got {options.batch_wait_ms:g}.")
    if not 0 <= options.port < 1 << 16:
        raise UserError(f"--port: expected 0 to 65535, got {options.port}.")
    return Bounds(
        upload_bytes=round(options.max_mb * MEGABYTE),
        video_sec=options.max_video_sec,
        side_px=options.max_side_px,
        decode_sec=options.max_decode_sec,
        decode_bytes=round(options.max_decode_mb * MEGABYTE),
        requests=options.max_requests,
    )


def _offered(options: argparse.Namespace, directories: list[str]) -> tuple[Example, ...]:
    """Return example clips; those of a data set are shown on this machine alone, unless a folder is named."""
    from keras_actrec.serving.server import examples
    from keras_actrec.web.security import is_loopback

    if options.examples == "none":
        return ()
    if options.examples is not None:
        return examples.in_folder(Path(options.examples))
    return examples.of_run(Path(directories[0])) if is_loopback(options.host) else ()


def _folder(name: str | None) -> Path | None:
    if name is None:
        return None
    from keras_actrec.serving import targets

    targets.check_folder(name, "--keep")
    return Path(name)


def _cores() -> int:
    from keras_actrec.data.threads import default_workers

    return default_workers()
