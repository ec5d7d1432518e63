"""Does the heat lie on the person? Measured on clips with known boxes, with two controls.

For each clip the heat is divided by its own mean; what is reported is its mean inside the boxes over its mean outside,
each averaged over the clips. 1 means that the heat knows nothing of the person. The controls:

- the boxes of another clip: what a network gets that merely prefers the middle of the picture. People stand there in
  most videos, so each clip is first moved by up to a fifth of its side (its border repeats), and its boxes with it;
- a network with fresh random weights (Adebayo et al., "Sanity Checks for Saliency Maps", 2018): what the architecture
  and the contrast of the pictures give without any learning.

    python -m keras_actrec.explain.sanity --run DIR [--clips N] [--method NAME ...]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.evaluation.trained import Trained, open_trained
from keras_actrec.explain.explanation import Explanation
from keras_actrec.explain.methods import explain
from keras_actrec.explain.subject import open_subject

METHODS = ("grad_cam", "guided_backprop", "integrated_gradients")
SHIFT = 0.2
"""By which share of the side clips are moved at most."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A clip with its boxes.

    Attributes:
        clip: float32 (T, S, S, 3), normalised.
        boxes: float (T, 4): left, top, right, bottom, in pixels of the clip.
        target: the class that it shows.
    """

    clip: np.ndarray
    boxes: np.ndarray
    target: int


@dataclasses.dataclass(frozen=True)
class BoxHeat:
    """Where the heat of several clips lies.

    Attributes:
        inside: mean heat within the boxes, where the mean of a clip is 1.
        outside: likewise outside of them.
        clips: number of clips.
        cold: number of clips left out because they have no heat at all.
    """

    inside: float
    outside: float
    clips: int
    cold: int

    @property
    def ratio(self) -> float:
        """How many times warmer it is inside; 1 where nothing is known of the person."""
        return self.inside / self.outside if self.outside > 0 else float("inf")


def examples(trained: Trained, most: int = 24, split: str = "test") -> list[Example]:
    """Read clips with boxes of the run's own data set, spread evenly over a split.

    Raises:
        UserError: the split has no clips with boxes.
    """
    root = Path(trained.config.data.root)
    rows = files.read_json(trained.path / "manifest.lock")["clips"]
    rows = [row for row in rows if row["split"] == split and row.get("boxes") and row.get("label") in trained.classes]
    if not rows:
        raise UserError(f"the {split} split of {trained.path} has no clips with boxes; stick-actions has them.")
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))
    rng = np.random.default_rng(0)
    return [moved(_example(trained, root, rows[number]), rng) for number in chosen]


def moved(example: Example, rng: np.random.Generator, share: float = SHIFT) -> Example:
    """Move a clip and its boxes by a random number of pixels, up to a share of its side; its border is repeated."""
    _, height, width, _ = example.clip.shape
    most = round(share * height)
    down, right = (int(step) for step in rng.integers(-most, most + 1, 2))
    padded = np.pad(example.clip, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    clip = padded[:, most - down : most - down + height, most - right : most - right + width]
    step = np.array([right, down, right, down])
    boxes = np.clip(example.boxes + step, 0, [width, height, width, height])
    return dataclasses.replace(example, clip=clip, boxes=boxes)


def box_heat(heats: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> BoxHeat:
    """Compare heat inside and outside of boxes.

    Args:
        heats: float (T, H, W) per clip, not negative.
        boxes: float (T, 4) per clip, in pixels of its heat.
    """
    pairs = [(heat / heat.mean(), _mask(heat.shape, box)) for heat, box in zip(heats, boxes, strict=True) if heat.any()]
    inside = [heat[mask].mean() for heat, mask in pairs if mask.any()]
    outside = [heat[~mask].mean() for heat, mask in pairs if not mask.all()]
    mean_in, mean_out = (float(np.mean(values)) if values else float("nan") for values in (inside, outside))
    return BoxHeat(mean_in, mean_out, len(pairs), len(heats) - len(pairs))


def measure(
    model: keras.Model, clips: Sequence[Example], method: str, layer: str | None = None
) -> tuple[BoxHeat, BoxHeat]:
    """Return where a method's heat lies, by the clips' own boxes, and by those of the clip half a list further on."""
    heats = [_heat(model, example, method, layer) for example in clips]
    boxes = [example.boxes for example in clips]
    half = len(boxes) // 2
    return box_heat(heats, boxes), box_heat(heats, [*boxes[half:], *boxes[:half]])


def with_random_weights(model: keras.Model, seed: int = 0) -> keras.Model:
    """Return a network of the same architecture with fresh initial weights."""
    keras.utils.set_random_seed(seed)
    return keras.models.clone_model(model)


def accuracy(model: keras.Model, clips: Sequence[Example]) -> float:
    """Return the share of clips whose class the network tells."""
    return float(np.mean([open_subject(model, one.clip).logits.argmax() == one.target for one in clips]))


def _heat(model: keras.Model, example: Example, method: str, layer: str | None) -> np.ndarray:
    result = explain(model, example.clip, method, example.target, layer=layer)
    if not isinstance(result, Explanation):
        raise UserError(f"{method} does not apply: {result.reason}")
    return result.heat


def _mask(shape: tuple[int, ...], boxes: np.ndarray) -> np.ndarray:
    """Return bool (T, H, W): pixels whose centre lies within the frame's box."""
    rows, columns = np.arange(shape[1])[None, :, None] + 0.5, np.arange(shape[2])[None, None, :] + 0.5
    left, top, right, bottom = (side[:, None, None] for side in np.asarray(boxes, float).T)
    return (left <= columns) & (columns <= right) & (top <= rows) & (rows <= bottom)


def _example(trained: Trained, root: Path, row: dict[str, str]) -> Example:
    frames = trained.frames(root / row["path"])
    boxes = np.asarray(files.read_json(root / row["boxes"])["boxes"], float)[frames.indices]
    clip = trained.normalize(frames.pixels)
    return Example(clip, trained.box_to_frame(boxes, frames), trained.class_index(row["label"]))


def main(arguments: Iterable[str] | None = None) -> int:
    """Print one line per method: trained network, boxes of other clips, random weights."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_actrec.explain.sanity", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--run", required=True, metavar="DIR", help="run directory of a run on stick-actions")
    parser.add_argument("--clips", type=int, default=24, metavar="N", help="test clips (default: 24)")
    parser.add_argument("--method", nargs="+", default=METHODS, metavar="NAME", help=f"default: {' '.join(METHODS)}")
    parser.add_argument("--layer", metavar="NAME", help="of Grad-CAM (default: the last map before the pooling)")
    options = parser.parse_args(arguments)
    trained = open_trained(options.run)
    clips = examples(trained, options.clips)
    random = with_random_weights(trained.model)
    print(f"{len(clips)} test clips, top-1 {accuracy(trained.model, clips):.3f}; mean heat in the boxes / outside:")
    for method in options.method:
        own, others = measure(trained.model, clips, method, options.layer)
        untrained, _ = measure(random, clips, method, options.layer)
        print(
            f"{method:22} trained {own.ratio:.2f}  boxes of other clips {others.ratio:.2f}  "
            f"random weights {untrained.ratio:.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
