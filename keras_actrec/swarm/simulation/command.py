"""The command `swarm-simulate`: a page that shows what the dynamics do. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse

from keras_actrec.errors import UserError

PORT = 8610


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Open a page on which a swarm searches a landscape in the plane, with sliders for what decides how it moves.

    To see what c1, c2, beta, M and k do; the moves are those of real swarms. Listens on this machine alone, unless
    --host says otherwise; then a token is needed.

    Example: python -m keras_actrec swarm-simulate
    """
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=PORT, metavar="P", help=f"0: any free one (default: {PORT})")
    parser.add_argument("--token", metavar="T", help="password of the page, needed where others can reach it")


def run(options: argparse.Namespace) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        UserError: a mistake in the options, or the port is in use.
    """
    if not 0 <= options.port < 1 << 16:
        raise UserError(f"--port: expected 0 to 65535, got {options.port}.")
    from keras_actrec.swarm.simulation import application
    from keras_actrec.web.listening import address_of, listen
    from keras_actrec.web.security import require_token

    require_token(application.DOOR, options.host, options.token)
    with listen(options.host, options.port, "--host ", "--port ") as connection:
        app = application.create_app(host=options.host, token=options.token)
        print(f"page: {address_of(connection)} (Ctrl-C ends it)", flush=True)
        application.serve(app, connection)
