"""C3D (Tran et al. 2015), trained on Sports-1M, as its PyTorch versions name it.

Two layouts: the layers' own names (`conv1` to `fc8`), and a sequence (`features.0` to `classifier.6`), of which some
published files leave the classifier out. fc6 reads a flattened map, whose order is another one in Keras.
"""

from __future__ import annotations

from typing import Any

from keras_actrec.porting.family import Family, known, width_of
from keras_actrec.porting.layouts import dense_after
from keras_actrec.porting.reading import Settings, Tensors
from keras_actrec.porting.rules import Rule, convolution, dense

LAYERS = ("conv1a", "conv2a", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b", "fc6", "fc7", "logits")
NAMED = ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b", "fc6", "fc7", "fc8")
SEQUENTIAL = (
    *(f"features.{number}" for number in (0, 3, 6, 8, 11, 13, 16, 18)),
    *(f"classifier.{number}" for number in (0, 3, 6)),
)
CONVOLUTIONS = 8
# The last convolution of each of the five stages.
LAST_OF_STAGE = (0, 1, 3, 5, 7)
FC6 = 8


def _rules(modules: tuple[str, ...]) -> tuple[Rule, ...]:
    rules: tuple[Rule, ...] = ()
    for index, (module, layer) in enumerate(zip(modules, LAYERS, strict=True)):
        module = module.replace(".", r"\.")
        if index < CONVOLUTIONS:
            rules += convolution(module, layer)
        else:
            rules += dense(module, layer, dense_after("pool5")) if index == FC6 else dense(module, layer)
    return rules


def _family(name: str, publisher: str, modules: tuple[str, ...], optional: tuple[str, ...]) -> Family:
    def demands(tensors: Tensors, settings: Settings) -> dict[str, Any]:
        widths = tuple(width_of(tensors, f"{modules[index]}.weight") for index in LAST_OF_STAGE)
        return known(
            widths=widths if None not in widths else None,
            fc_units=width_of(tensors, f"{modules[FC6]}.weight"),
            batch_norm=False,
        )

    return Family(
        name=name,
        publisher=publisher,
        models=("c3d",),
        rules=_rules(modules),
        normalization="sports1m",
        demands=demands,
        published={"frames": 16, "size": 112},
        optional=optional,
    )


C3D = _family("c3d", "C3D with the layers' own names (conv1 to fc8)", NAMED, ())
C3D_SEQUENTIAL = _family("c3d_sequential", "C3D as a sequence (features, classifier)", SEQUENTIAL, ("logits",))
