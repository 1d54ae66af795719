"""A token bucket: so many at once, so many per second after that."""

from __future__ import annotations

import math
from typing import Final

ROUNDING: Final = 1e-6  # of a token: who waited exactly as long as it was told gets one


class Bucket:
    """Full at the start. Times are seconds of any steady clock."""

    def __init__(self, rate: float, burst: int, now_s: float) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._left = self._burst
        self._at_s = now_s

    def take(self, now_s: float) -> int:
        """Take one. Returns 0, or if there is none the milliseconds until there will be."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        if self._left >= 1 - ROUNDING:
            self._left -= 1
            return 0
        return math.ceil((1 - self._left) / self._rate * 1000)
