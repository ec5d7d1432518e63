"""Losses of codes: pure functions of tensors that run on every Keras backend, inside compiled functions or not."""

from keras_actrec.losses.n_pair import n_pair, n_pair_of_batch
from keras_actrec.losses.supervised_contrastive import supervised_contrastive

__all__ = ["n_pair", "n_pair_of_batch", "supervised_contrastive"]
