"""What a row of the battery of models is, and how the parameters of common layers are worked out by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

CLASSES = 3


@dataclasses.dataclass(frozen=True)
class Case:
    """A small network whose options are not the defaults.

    Attributes:
        name: in the registry.
        options: of the network; `frames` and `size` are among them.
        parameters: their number, worked out by hand.
        unmoved: weights that have no gradient by their mathematics, by the end of their path.
        sees_order: whether the order of frames can change the output.
        frame_wise: whether the network has features of each frame, at which it can be cut.
        normalization: the one that the config must name.
        learning_rate: of the slow test that trains; networks without normalisation want a lower one.
        training_clips: of that test; Transformers learn few clips by heart.
        inputs: names and channels of the inputs.
        lengths: frames of each input, where they differ from the option `frames`.
    """

    name: str
    options: dict[str, Any]
    parameters: int
    unmoved: tuple[str, ...] = ()
    sees_order: bool = True
    frame_wise: bool = True
    normalization: str = "minus_one_one"
    learning_rate: float = 0.005
    training_clips: int = 192
    inputs: tuple[tuple[str, int], ...] = (("rgb", 3),)
    lengths: tuple[int, ...] = ()

    def shapes(self) -> dict[str, tuple[int, int, int, int]]:
        """Return T, H, W, C of each input."""
        size, lengths = self.options["size"], self.lengths or (self.options["frames"],) * len(self.inputs)
        return {
            name: (frames, size, size, channels) for (name, channels), frames in zip(self.inputs, lengths, strict=True)
        }


def dense(inputs: int, outputs: int) -> int:
    """A dense layer, or a convolution over `inputs` numbers per place, with bias."""
    return (inputs + 1) * outputs


def unit(volume: int, inputs: int, outputs: int) -> int:
    """A convolution without bias and its batch normalisation: scale, shift and two moving statistics."""
    return volume * inputs * outputs + 4 * outputs
