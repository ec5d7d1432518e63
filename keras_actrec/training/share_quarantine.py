"""The clips that the processes of one training could not read, in one list."""

from __future__ import annotations

from typing import Any

import keras

from keras_actrec.data.quarantine import Quarantine
from keras_actrec.training.links import Links


class ShareQuarantine(keras.callbacks.Callback):
    """After each epoch every process knows what any of them could not read; each reads its own share of the clips."""

    def __init__(self, links: Links, quarantine: Quarantine) -> None:
        super().__init__()
        self._links, self._quarantine = links, quarantine

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Exchange what is new."""
        for entries in self._links.exchange(self._quarantine.documents()):
            self._quarantine.merge(entries)
