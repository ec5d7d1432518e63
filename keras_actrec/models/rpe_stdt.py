"""RPE-STDT: a Transformer over the patches of each frame, then one over the frames, with relative positions. Ma and
Wang, "Relative-position embedding based spatially and temporally decoupled Transformer for action recognition" (Pattern
Recognition 145, 2024), chapter 3 of Ma's thesis, Fig. 3.2.

Stages: 16 x 16 patches of every frame -> class token, `depth` encoder layers within the frame, norm -> the frames'
class tokens -> class token, `temporal_depth` encoder layers over the frames, halved in number after some of them, norm
-> class token -> logits. Relative positions are layers.RelativePositionAttention (Eq. 3.7 to 3.11), Top-K pooling is
layers.TopStdBlock (Eq. 3.12 to 3.14). `encoders: space` is ViT on every frame, the mean of their class tokens
classified (Table 3.3).

Deviations and ambiguities, and how they were settled:
- Eq. 3.7, not 3.5 or 3.6: p_ij meets the query alone, within the scale. Eq. 3.10 is applied to each axis, because the
  pair of results numbers the cluster (Eq. 3.11); a Euclidean distance would have no sign. "In" in Eq. 3.9 is ln. [x]
  rounds halves away from zero, which matters: for y = 3, a distance of 6 is mapped onto exactly 2.5, here 3.
- b : y : a = 1 : 2 : 8 and (2 y + 1)^2 + 1 = 50 clusters make y = 3, b = 1.5, a = 12. The clip function has k = y, the
  same 50. Every pair with the class token has the "extra block", one cluster.
- "Adopted into all self-attention layers" is taken literally, as without it the temporal layers would know no order:
  there it counts frames, along one axis (7 clusters and one). The frames that pooling has kept stay in the order of
  time and are counted anew: neighbours among them are one apart, however far apart they were.
- `subsample_after` counts layers from one: "after the first and third temporal encoder layers" in the text is [1, 3] in
  Table 3.4, and [0, 2] is "at the beginning". Counted from zero, the second pooling would follow the last layer, where
  it changes nothing, as the class token alone is classified. Before the first layer (0), Top-K goes by that layer's
  attention over all frames.
- In the last layer of each encoder the class token alone is read, and all of its pairs are of one cluster: there the
  embeddings change no result and never move. They are kept, as every layer has them in the text.
- Top-K takes rows of the softmax over all tokens, the class token among them; their deviation is averaged over the
  heads. The class token itself is always kept. Halving means the upper half of the frames. The factor 1/T outside the
  root of Eq. 3.13 changes no rank.
- The temporal convolution has a kernel of 2, like the other poolings.
- `position: absolute` has learned tables, as its source (ViViT), though Sec. 3.3.1 speaks of sinusoids: one for the
  places of a frame and one for time.
- How embeddings start is not said. Spatial ones start near zero (standard deviation 0.02), as attention may come from
  image weights that know no such term; those over time, which start from scratch with all else, at 0.7, where positions
  weigh nearly as much as frames. It matters for small networks without image weights: on `stick-actions`, within
  temporal pairs (chance 50 %), 96.0 % with 0.7 for both, 75.4 % with 0.02 for space, and with 0.02 for both (at twice
  the learning rate) 49.6 %, time not being used at all.

Parameters, with 101 classes, and multiply-adds of the linear layers (in brackets: all of `evaluation.flops`, halved):

    strategy                       thesis             the text's settings give
    shared                 97.06 M, 273 G     85,756,005   180.7 G  (192.5 G)
    unshared               97.26 M            86,059,109   180.7 G  (192.5 G)
    absolute               100.7 M            85,891,685   180.7 G  (188.5 G)
    baseline (none)         88.9 M            85,727,333   180.9 G  (188.8 G)
    baseline, Top-K         82.7 M            85,727,333   180.7 G  (188.5 G)
    ViT, space only                 269 G     85,876,325   269.8 G  (281.5 G)

So "FLOPs" are multiply-adds of linear layers alone, without the products of queries, keys and values: ViT-B's 12 layers
on 16 frames agree. 273 G is beyond 8 + 4 layers, which have a third less work: it is what 12 spatial layers, 4 temporal
ones and products with 50 clusters by queries and keys (Fig. 3.3) cost, 272.9 G. 97.06 M, too, is beyond 12 layers of
7.09 M each: ViT-B's 12 and four "lighter" temporal ones, `depth: 12, temporal_head_dim: 64, temporal_dense_dim: 768`,
have 96,805,477. No such setting is in the text, so that the defaults are its 8 + 4 layers. Sharing saves 0.30 M here,
0.20 M in Table 3.1. That absolute positions cost 3.6 M more (4,700 vectors of 768; a clip has 16 x 197 = 3,152), and
that Top-K, which has no weights, saves 6.2 M, follows from nothing in the text; 88.9 M is the number of ViViT-B/16x2
(Table 3.6).
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import keras
import numpy as np
from keras import ops
from pydantic import Field

from keras_actrec.errors import UserError
from keras_actrec.layers import (
    HalveTime,
    RelativePositionAttention,
    SelfAttention,
    TopStdBlock,
    TransformerBlock,
    relative_position,
)
from keras_actrec.models.clips import clip_inputs
from keras_actrec.models.frames import Count
from keras_actrec.models.transformers import (
    Tensor,
    TransformerConfig,
    begin,
    block_options,
    embed_patches,
    finish,
    normalize,
)

Position = Literal["relative", "absolute", "none"]
Subsampling = Literal["top_std", "max", "average", "convolution", "none"]


@dataclasses.dataclass(frozen=True)
class RPESTDTConfig(TransformerConfig):
    """Spatial, then temporal Transformer with relative positions (RPE-STDT, Ma and Wang 2024)."""

    depth: Count = 8
    """Number of spatial encoder layers; ViT-B has 12."""
    encoders: Literal["decoupled", "space"] = "decoupled"
    """decoupled: spatial layers, then temporal ones; space: spatial ones alone, and the mean of the frames."""
    temporal_depth: Count = 4
    """Number of temporal encoder layers."""
    temporal_heads: Count = 8
    """Attention heads of each temporal layer."""
    temporal_head_dim: Count | None = None
    """Width of each temporal head; not given: the tokens' width over the number of heads."""
    temporal_dense_dim: Count | None = None
    """Width of the temporal layers' feed-forward networks; not given: as in the spatial ones."""
    position: Position = "relative"
    """How tokens know where they are: relative embeddings in every attention, learned absolute ones, or not at all."""
    heads_share_positions: bool = True
    """relative: whether the heads of a layer share their embeddings."""
    mapping: relative_position.Mapping = "sectioned"
    """relative: what a distance is mapped onto its embedding by."""
    reach: Count = 3
    """relative: largest number that a distance along one axis is mapped onto, y; there are (2 y + 1)^2 + 1 clusters."""
    partition: Annotated[float, Field(gt=0, le=1)] = 0.5
    """relative, sectioned: distance up to which nothing is joined, b, in units of y."""
    curvature: Annotated[float, Field(gt=1)] = 4.0
    """relative, sectioned: distance that is mapped onto y, a, in units of y."""
    position_stddev: Annotated[float, Field(gt=0)] = 0.02
    """relative: standard deviation of the spatial embeddings at the start; near 0 for image weights, else near 1."""
    temporal_position_stddev: Annotated[float, Field(gt=0)] = 0.7
    """relative: likewise of the temporal ones."""
    subsampling: Subsampling = "top_std"
    """How frames become fewer among the temporal layers: top_std keeps the half whose attention is focused."""
    subsample_after: tuple[Annotated[int, Field(ge=0)], ...] = (1, 3)
    """After how many temporal layers the frames are halved; 0: before the first."""

    def __post_init__(self) -> None:
        _check_multiple("size", self.size, "patch", self.patch)
        _check_multiple("width", self.width, "heads", self.heads)
        if self.encoders == "decoupled":
            self._check_time()

    def _check_time(self) -> None:
        if self.temporal_head_dim is None:
            _check_multiple("width", self.width, "temporal_heads", self.temporal_heads)
        places = self.subsample_after if self.subsampling != "none" else ()
        if list(places) != sorted(set(places)) or any(place > self.temporal_depth for place in places):
            raise UserError(
                f"subsample_after: expected rising numbers from 0 to {self.temporal_depth}, got {list(places)}."
            )
        if self.frames % 2 ** len(places):
            raise UserError(
                f"frames: {self.frames} cannot be halved {len(places)} times; choose a multiple of"
                f" {2 ** len(places)}, or fewer places in subsample_after."
            )


def build_rpe_stdt(config: RPESTDTConfig) -> keras.Model:
    """Build the network: clip (B, T, H, W, C) -> logits (B, num_classes)."""
    inputs, clip = clip_inputs(config)
    frames = _space(config, embed_patches(config, clip))
    features = _time(config, frames) if config.encoders == "decoupled" else ops.mean(frames, axis=1)
    return finish(config, inputs, features, "rpe_stdt")


def cluster_map(
    grid: tuple[int, int] = (14, 14),
    reference: tuple[int, int] | None = None,
    mapping: relative_position.Mapping = "sectioned",
    reach: int = 3,
    partition: float = 0.5,
    curvature: float = 4.0,
) -> np.ndarray:
    """Return the cluster of every place as the reference sees it (Fig. 3.5), int32 (H, W).

    Args:
        grid: rows and columns of patches.
        reference: row and column, from 0; None: (H // 2, W // 2).
        mapping: "sectioned" or "clip".
        reach: y.
        partition: b / y.
        curvature: a / y.

    Raises:
        UserError: the reference lies outside, or a number is out of range.
    """
    row, column = reference or (grid[0] // 2, grid[1] // 2)
    if not (0 <= row < grid[0] and 0 <= column < grid[1]):
        raise UserError(f"the reference {(row, column)} lies outside of {grid[0]} x {grid[1]} patches.")
    index = relative_position.cluster_index(grid, mapping, reach, partition, curvature, class_token=False)
    return index[row * grid[1] + column].reshape(grid)


def _space(config: RPESTDTConfig, patches: Tensor) -> Tensor:
    """Encode every frame by itself: (B, T, H/p, W/p, D) -> (B, T, D)."""
    _, frames, rows, columns, width = patches.shape
    x = _begin(config, ops.reshape(patches, (-1, rows * columns, width)), "space_")
    for number in range(1, config.depth + 1):
        attention = _attention(config, config.heads, None, (rows, columns), config.position_stddev)
        options = block_options(config, number)
        x = TransformerBlock(attention, name=f"space_block{number}", **options)(x)
    frame = normalize(config, x[:, 0], "space_norm")
    return ops.reshape(frame, (-1, frames, width))


def _time(config: RPESTDTConfig, frames: Tensor) -> Tensor:
    """Encode the frames together: (B, T, D) -> (B, D)."""
    x = _halve(config, 0, _begin(config, frames, "time_"))
    for number in range(1, config.temporal_depth + 1):
        x = _halve(config, number, _time_block(config, number, x.shape[1] - 1)(x))
    return normalize(config, x[:, 0], "time_norm")


def _begin(config: RPESTDTConfig, x: Tensor, prefix: str) -> Tensor:
    """Put a class token before tokens (B, N, D), and add absolute positions, if any."""
    return begin(config, x, "learned" if config.position == "absolute" else "none", True, prefix)


def _halve(config: RPESTDTConfig, number: int, x: Tensor) -> Tensor:
    """Halve time after `number` temporal layers, unless a layer does it itself or it is not to be done."""
    if config.subsampling in ("top_std", "none") or number not in config.subsample_after:
        return x
    return HalveTime(config.subsampling, name=f"time_halve{number}")(x)


def _time_block(config: RPESTDTConfig, number: int, frames: int) -> TransformerBlock:
    """Return temporal layer `number` for so many frames."""
    stddev = config.temporal_position_stddev
    attention = _attention(config, config.temporal_heads, config.temporal_head_dim, (frames,), stddev)
    options = block_options(config, number, config.temporal_depth)
    options["dense_dim"] = config.temporal_dense_dim or config.feed_forward
    kept = _kept(config, number, frames)
    name = f"time_block{number}"
    return (
        TopStdBlock(attention, name=name, **options, **kept)
        if kept
        else TransformerBlock(attention, name=name, **options)
    )


def _kept(config: RPESTDTConfig, number: int, frames: int) -> dict[str, int]:
    """Return how many frames temporal layer `number` keeps, and when it drops the others; nothing if it drops none."""
    kept: dict[str, int] = {}
    if config.subsampling != "top_std":
        return kept
    if number == 1 and 0 in config.subsample_after:
        kept["keep_before"] = frames = frames // 2
    if number in config.subsample_after:
        kept["keep_after"] = frames // 2
    return kept


def _attention(
    config: RPESTDTConfig, heads: int, head_dim: int | None, grid: tuple[int, ...], stddev: float
) -> SelfAttention:
    """Return attention over the tokens of a grid and the class token."""
    common = {"head_dim": head_dim, "dropout": config.attention_dropout, "name": "attention"}
    if config.position != "relative":
        return SelfAttention(heads, **common)
    return RelativePositionAttention(
        heads,
        grid,
        mapping=config.mapping,
        reach=config.reach,
        partition=config.partition,
        curvature=config.curvature,
        share_heads=config.heads_share_positions,
        initial_stddev=stddev,
        **common,
    )


def _check_multiple(whole_name: str, whole: int, part_name: str, part: int) -> None:
    if whole % part:
        raise UserError(f"{whole_name}: {whole} is no multiple of {part_name}, {part}.")
