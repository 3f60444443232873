"""What is computed chunk by chunk on a device and wanted on the host: one copy for all, however many chunks there are.

On a GPU a copy to the host waits for all that was launched; one to the device does not, as long as it is small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class Gathered:
    """An array that chunks are put into or added to, in float64: NumPy's on the CPU, where its calls are cheaper."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self._array: Any = (
            np.zeros(shape) if device.type == "cpu" else torch.zeros(shape, dtype=torch.float64, device=device)
        )

    def put(self, place: Any, x: Tensor) -> None:
        """Put a chunk in its place."""
        self._array[place] = self._alike(x)

    def add(self, place: Any, x: Tensor) -> None:
        """Add a chunk to what is in its place."""
        self._array[place] += self._alike(x)

    def _alike(self, x: Tensor) -> Any:
        return x if isinstance(self._array, Tensor) else x.numpy()


def on_host(*gathered: Gathered) -> list[Tensor]:
    """What was gathered, on the host, float64."""
    arrays = [each._array for each in gathered]
    if not isinstance(arrays[0], Tensor):
        return [torch.from_numpy(array) for array in arrays]
    flat = torch.cat([array.flatten() for array in arrays]).cpu()
    parts = flat.split([array.numel() for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]


def on_device(device: torch.device, *small: Tensor) -> list[Tensor]:
    """Small tensors of the host's on a device, without waiting for it."""
    return [x.to(device, non_blocking=True) for x in small]
