"""What problems at random are drawn by, the same for every seed."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Draws"]


class Draws:
    """Chances, choices and powers of ten from the numbers of a seed."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, np.random.default_rng(seed)

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def power(self, low: float, high: float, shape: Any = None) -> Any:
        found = 10 ** self.rng.uniform(low, high, shape)
        return float(found) if shape is None else found
