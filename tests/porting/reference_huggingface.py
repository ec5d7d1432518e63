"""The networks of Hugging Face's `transformers`, with random weights, and their answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers
from torch import nn

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

COMPARING = ("query", "key", "q_proj", "k_proj", "qkv")
# Smaller weights where tokens are compared, so that no softmax is decided by the last bit of a near tie.
COMPARING_GAIN = 0.5


def randomised(network: nn.Module, seed: int = 3) -> nn.Module:
    """Give a network weights that keep signals alive, and put it into inference mode."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: torch.Tensor, deviation: float, mean: float = 0.0) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * deviation + mean)

    with torch.no_grad():
        for name, parameter in network.named_parameters():
            module, _, kind = name.rpartition(".")
            if parameter.ndim == 1:
                normal(parameter, 0.1, mean=1.0 if "norm" in module and kind == "weight" else 0.0)
            elif kind == "weight":
                gain = COMPARING_GAIN if module.endswith(COMPARING) else 1.0
                normal(parameter, gain * parameter[0].numel() ** -0.5)
            else:
                normal(parameter, 0.5)
    return network.eval()


def timesformer(kind: type[Any] = transformers.TimesformerForVideoClassification, **options: Any) -> nn.Module:
    """A TimeSformer; `options` of its config."""
    return randomised(kind(transformers.TimesformerConfig(**options)))


def vivit(kind: type[Any] = transformers.VivitForVideoClassification, **options: Any) -> nn.Module:
    """A ViViT."""
    return randomised(kind(transformers.VivitConfig(**options)))


def videomae(kind: type[Any] = transformers.VideoMAEForVideoClassification, **options: Any) -> nn.Module:
    """A VideoMAE."""
    return randomised(kind(transformers.VideoMAEConfig(**options)))


Build = Callable[..., nn.Module]


def save(network: nn.Module, folder: Path) -> Path:
    """Write a folder as the library does: config.json and model.safetensors."""
    network.save_pretrained(folder)
    return folder


def logits(network: nn.Module, values: np.ndarray) -> np.ndarray:
    """Return the logits (B, K) of clips (B, T, H, W, 3)."""
    with torch.inference_mode():
        return network(_frames_first(values)).logits.numpy()


def space_only_logits(network: nn.Module, values: np.ndarray) -> np.ndarray:
    """Return the logits (B, K) of a TimeSformer that sees frames one by one, whose tokens are then averaged over time.

    The library leaves the average out, and gives logits for each frame; the authors' code has it before the norm.
    """
    body = network.timesformer
    with torch.inference_mode():
        tokens = body.encoder(body.embeddings(_frames_first(values)))[0]
        mean = tokens.unflatten(0, values.shape[:2]).mean(1)
        return network.classifier(body.layernorm(mean)[:, 0]).numpy()


def _frames_first(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).permute(0, 1, 4, 2, 3).contiguous()
