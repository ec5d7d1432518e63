"""A network under training whose loss looks at more than its logits: what regimes of their own are made of."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

LOGITS = "logits"
"""Name of the output by which accuracy is measured, and the validation loss."""


class Learner:
    """A network with several outputs, among them "logits"; subclasses, Keras models too, say what is minimised.

    It is no Keras model itself: where a subclass is built from inputs and outputs, Keras puts `Functional` in place of
    `Model` among its bases and theirs, for good, and subclasses that are built otherwise could not be made any more.

    The labels are those of any network: one-hot (B, K). Validation measures the cross entropy of the logits, so that
    `val_loss` means the same for each regime; `objectives` has it measured with label smoothing. `compute_loss` is the
    place that Keras gives for it on each backend.
    """

    takes_all_views = False
    """Whether a batch's views are passed as the data gives them, rather than by the names of the model's inputs."""

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return self.output[LOGITS].shape[-1]

    @property
    def training_only(self) -> tuple[str, ...]:
        """Names of the numbers that validation does not measure."""
        return ()

    def regime_loss(self, labels: Any, outputs: dict[str, Any]) -> Any:
        """Return the loss of one batch, a scalar.

        Args:
            labels: one-hot (B, K).
            outputs: of the network, by name.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what it minimises")

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the regime's loss in training, the cross entropy of the logits in validation."""
        if not training:
            return keras.losses.CategoricalCrossentropy(from_logits=True)(y, y_pred[LOGITS], sample_weight)
        # A loss of Keras divides by the number of devices, whose gradients are then summed.
        loss = GivenLoss()(y, self.regime_loss(y, y_pred))
        return loss + sum(self.losses) if self.losses else loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Measure the logits."""
        return super().compute_metrics(x, y, y_pred[LOGITS], sample_weight)


class GivenLoss(keras.losses.Loss):
    """Passes a loss on that was computed already."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the scalar as the loss of one row."""
        return ops.reshape(y_pred, (1,))

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the mean over that row, shared among the devices."""
        return super().__call__(ops.zeros((1,)), y_pred, None)
