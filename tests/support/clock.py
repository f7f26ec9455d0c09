"""The time, as tests move it."""

from dataclasses import dataclass

NOW = 1_800_000_000


@dataclass
class Clock:
    """Epoch seconds that a test moves."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


class Passing:
    """Takes the place of the module `time` where code waits: nobody has to, and time passes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Return the seconds since some moment."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let them pass."""
        self.slept.append(seconds)
        self.now += seconds
