"""A worker process of `render.ensure`; not meant to be started by hand (`python -m keras_actrec datasets` is)."""

import sys

from keras_actrec.data.synthetic.worker import serve

if __name__ == "__main__":
    try:
        sys.exit(serve())
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)
