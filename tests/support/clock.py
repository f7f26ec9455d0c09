"""The time, as tests move it."""

from dataclasses import dataclass

NOW = 1_800_000_000


@dataclass
class Clock:
    """Epoch seconds that a test moves."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now
