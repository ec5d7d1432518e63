"""Losses of codes and logits: pure functions of tensors that run on every Keras backend, in compiled functions too."""

from keras_actrec.losses.cross_contrastive import cross_contrastive
from keras_actrec.losses.n_pair import n_pair, n_pair_of_batch
from keras_actrec.losses.pseudo_label import pseudo_label
from keras_actrec.losses.supervised_contrastive import supervised_contrastive

__all__ = ["cross_contrastive", "n_pair", "n_pair_of_batch", "pseudo_label", "supervised_contrastive"]
