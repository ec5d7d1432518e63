"""Rows of the battery: `vivit`, `timesformer` and `videomae`."""

from __future__ import annotations

from typing import Any

from case import CLASSES, Case, dense

WIDTH, HIDDEN = 16, 24
NORM = 2 * WIDTH
# With smaller patches networks as data-hungry as these learn the few clips of the slow test by heart.
ROOT: dict[str, Any] = {"frames": 4, "size": 16, "patch": 8, "width": WIDTH, "depth": 2, "heads": 2}
SMALL = ROOT | {"dense_dim": HIDDEN, "head_dropout": 0.1}
DROPPING = SMALL | {"dropout": 0.05, "attention_dropout": 0.05, "drop_path": 0.1}
PLACES = 2 * 2
HEAD = NORM + dense(WIDTH, CLASSES)

# A softmax over keys takes no notice of a constant that is added to all of them.
UNMOVED = ("attention/key/bias",)


def patches(frames: int) -> int:
    """Embedding of boxes of `frames` frames of 8 x 8 pixels of three channels."""
    return dense(frames * 8 * 8 * 3, WIDTH)


def block(key_bias: bool = True) -> int:
    """Query, key, value and output, the feed-forward network, and two normalisations."""
    attention = 4 * dense(WIDTH, WIDTH) - (0 if key_bias else WIDTH)
    return attention + dense(WIDTH, HIDDEN) + dense(HIDDEN, WIDTH) + 2 * NORM


def divided() -> int:
    """A block, and attention over time with a normalisation before it and a dense layer behind it."""
    return block() + 4 * dense(WIDTH, WIDTH) + NORM + dense(WIDTH, WIDTH)


VIT: dict[str, Case] = {
    "vivit, factorised, means without class tokens": Case(
        "vivit",
        DROPPING | {"encoder": "factorised", "temporal_depth": 1, "tubelet_frames": 1, "pool": "mean"},
        patches(1) + PLACES * WIDTH + 2 * block() + NORM + 4 * WIDTH + block() + HEAD,
        unmoved=UNMOVED,
        frame_wise=False,
        training_clips=768,
    ),
    "vivit, factorised, with class tokens": Case(
        "vivit",
        SMALL | {"encoder": "factorised", "temporal_depth": 1, "tubelet_frames": 1, "position": "sinusoidal"},
        patches(1) + WIDTH + 2 * block() + NORM + WIDTH + block() + HEAD,
        unmoved=UNMOVED,
        frame_wise=False,
    ),
    "vivit, without positions": Case(
        "vivit",
        # With tubelets of one frame nothing is left that knows of order.
        SMALL | {"position": "none", "tubelet_frames": 1},
        patches(1) + WIDTH + 2 * block() + HEAD,
        unmoved=UNMOVED,
        sees_order=False,
        frame_wise=False,
    ),
    "vivit": Case(
        "vivit",
        SMALL | {"activation": "gelu_tanh", "epsilon": 1e-5, "rematerialize": True},
        # Two tubelets in time, and the class token, have a position each.
        patches(2) + WIDTH + (1 + 2 * PLACES) * WIDTH + 2 * block() + HEAD,
        unmoved=UNMOVED,
        frame_wise=False,
    ),
    "timesformer, joint": Case(
        "timesformer",
        DROPPING | {"attention": "joint"},
        patches(1) + WIDTH + (1 + PLACES) * WIDTH + 4 * WIDTH + 2 * block() + HEAD,
        unmoved=UNMOVED,
        frame_wise=False,
        normalization="slowfast",
        training_clips=768,
    ),
    "timesformer, space": Case(
        "timesformer",
        SMALL | {"attention": "space", "position": "space", "input_normalization": "minus_one_one"},
        patches(1) + WIDTH + (1 + PLACES) * WIDTH + 2 * block() + HEAD,
        unmoved=UNMOVED,
        sees_order=False,
        frame_wise=False,
    ),
    "timesformer": Case(
        "timesformer",
        SMALL | {"activation": "gelu_tanh", "epsilon": 1e-5, "rematerialize": True},
        patches(1) + WIDTH + (1 + PLACES) * WIDTH + 4 * WIDTH + 2 * divided() + HEAD,
        unmoved=(*UNMOVED, "time_attention/key/bias"),
        frame_wise=False,
        normalization="slowfast",
    ),
    "videomae, learned positions, first token": Case(
        "videomae",
        DROPPING | {"position": "learned", "pool": "token", "tubelet_frames": 1},
        patches(1) + 4 * PLACES * WIDTH + 2 * block(key_bias=False) + HEAD,
        frame_wise=False,
        normalization="imagenet",
        training_clips=768,
    ),
    "videomae": Case(
        "videomae",
        SMALL | {"epsilon": 1e-12, "head_epsilon": 1e-5, "rematerialize": True},
        patches(2) + 2 * block(key_bias=False) + HEAD,
        frame_wise=False,
        normalization="imagenet",
    ),
}
