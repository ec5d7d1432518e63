"""`python -m keras_actrec COMMAND`."""

from keras_actrec.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
