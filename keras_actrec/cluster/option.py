"""The option `--ray-address` of the commands that can run on a cluster."""

from __future__ import annotations

import argparse
import json


def add_ray_address(parser: argparse.ArgumentParser) -> None:
    """Add the option."""
    text = "run on this Ray cluster: HOST:PORT, auto (this machine is a node of it), or local (one of this machine)"
    parser.add_argument("--ray-address", metavar="ADDRESS", help=text)


def overrides(options: argparse.Namespace, section: str) -> list[str]:
    """Return the overrides that the option stands for in a section, none without it."""
    address = options.ray_address
    return [] if address is None else [f"{section}.launcher=ray", f"{section}.ray.address={json.dumps(address)}"]
