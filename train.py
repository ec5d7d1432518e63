"""Train a video action recogniser: python train.py --config configs/quickstart.yaml [key=value ...] [--resume]."""

from keras_actrec import cli

if __name__ == "__main__":
    cli.begin()
    parser = cli.Parser(description=__doc__)
    cli.add_train_arguments(parser)
    options = parser.parse_args()
    raise SystemExit(cli.leave(cli.guard(lambda: cli.train(options))))
