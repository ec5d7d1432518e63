"""What the reference networks share: random weights that keep signals alive, and the comparison of logits."""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
import torch
from torch import nn

LARGEST_DIFFERENCE = 1e-4
# What is compared in an attention: smaller weights, so that no softmax is decided by the last bit of a near tie.
COMPARING, COMPARING_GAIN = ("theta", "phi"), 0.3


def randomised(network: nn.Module, seed: int = 1) -> nn.Module:
    """Give a network He's weights and random statistics in its normalisations, and put it into inference mode."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv3d | nn.Linear):
                gain = COMPARING_GAIN if name.endswith(COMPARING) else 1
                deviation = gain * (2 / module.weight[0].numel()) ** 0.5
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * deviation)
                if module.bias is not None:
                    uniform(module.bias, -0.2, 0.2)
            elif isinstance(module, nn.BatchNorm3d):
                for tensor, low, high in [
                    (module.weight, 0.5, 1.0),
                    (module.bias, -0.2, 0.4),
                    (module.running_mean, -0.3, 0.3),
                    (module.running_var, 0.5, 1.5),
                ]:
                    uniform(tensor, low, high)
    return network.eval()


def clips(frames: int, size: int, count: int = 2) -> np.ndarray:
    """Return random clips (B, T, H, W, 3), the second one unlike the first in brightness and in time."""
    values = np.random.default_rng(2).normal(size=(count, frames, size, size, 3)).astype(np.float32)
    values[1] = 0.5 * values[1] + np.linspace(-1, 1, frames, dtype=np.float32)[:, None, None, None]
    return values


def their_logits(network: nn.Module, values: np.ndarray) -> np.ndarray:
    """Return the logits (B, K) of clips (B, T, H, W, 3)."""
    with torch.inference_mode():
        return network(torch.from_numpy(values).permute(0, 4, 1, 2, 3).contiguous()).numpy()


def our_logits(path: str | os.PathLike[str], values: np.ndarray) -> np.ndarray:
    """Load a model as the package does and return its logits (B, K) in inference mode."""
    from keras_actrec import models

    network = models.load_model(path)
    return keras.ops.convert_to_numpy(network([values], training=False))


def largest_relative_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return max |a - b| / max |b|."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def assert_telling(logits: np.ndarray) -> None:
    """Fail where the logits say nothing of the clip, so that any network would agree with them."""
    assert np.isfinite(logits).all()
    assert np.abs(logits[0] - logits[1]).max() > 0.01 * np.abs(logits).max()


def save(network: nn.Module, path: Path) -> Path:
    """Write the state dict as the suffix says."""
    if path.suffix == ".safetensors":
        import safetensors.torch

        safetensors.torch.save_file(network.state_dict(), path)
    else:
        torch.save(network.state_dict(), path)
    return path
