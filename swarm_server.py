"""Train a swarm: python swarm_server.py --config configs/swarm/quickstart.yaml --particles 4 [key=value ...]."""

from keras_actrec import cli

if __name__ == "__main__":
    parser = cli.Parser(description=__doc__)
    cli.add_swarm_arguments(parser)
    options = parser.parse_args()
    raise SystemExit(cli.guard(lambda: cli.swarm(options)))
