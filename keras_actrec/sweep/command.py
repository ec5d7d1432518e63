"""The command `sweep`. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse
import signal

from keras_actrec.cluster import option as ray_option
from keras_actrec.errors import UserError

PORT = 8601


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Look for good values of any keys of a configuration: grid, random, or Optuna's TPE, several trials at a time.

    The same command goes on with a sweep that was interrupted; more trials or hours add to a finished one.

    Example: python -m keras_actrec sweep --config configs/sweeps/stick_actions.yaml sweep.trials=30
    """
    parser.add_argument("--config", required=True, metavar="FILE", help="a run configuration with a section sweep")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides, such as sweep.workers=2")
    ray_option.add_ray_address(parser)
    parser.add_argument("--port", type=int, default=PORT, help=f"of the live page (default: {PORT}, or any free one)")
    parser.add_argument("--no-page", action="store_true", help="serve no live page")


def run(options: argparse.Namespace) -> None:
    """Sweep as the options say, and name the directory in the last line.

    Raises:
        UserError: a mistake in the options, the configuration or the data; all trials fail.
    """
    if not 0 <= options.port < 1 << 16:
        raise UserError(f"--port: expected 0 to 65535, got {options.port}.")
    from keras_actrec.sweep import live
    from keras_actrec.sweep.settings import load_sweep_config
    from keras_actrec.sweep.sweep import Sweep

    overrides = [*options.overrides, *ray_option.overrides(options, "sweep")]
    sweep = Sweep(load_sweep_config(options.config, overrides), say=_say)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if options.no_page:
            sweep.run()
        else:
            with live.serving(sweep, options.port) as address:
                _say(f"page: {address} (HiPlot: {address}/hiplot)")
                sweep.run()
    except KeyboardInterrupt:
        _say(f"interrupted: the same command goes on with {sweep.path}")
        raise SystemExit(128 + signal.SIGINT) from None
    _say(f"sweep: {sweep.path}")


def _say(line: str) -> None:
    print(line, flush=True)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
