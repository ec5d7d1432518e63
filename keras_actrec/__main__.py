"""`python -m keras_actrec COMMAND`."""

from keras_actrec.cli import program

if __name__ == "__main__":
    program()
