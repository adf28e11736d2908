"""What a probe found, as plain data: `facecorpus.typed` writes it as JSON and reads it back. Shares are in
[0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Accuracy:
    """Share of test frames whose subject is named rightly, with a 95 % interval over subjects."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LeftOut:
    """A subject with too few frames.

    `frames` are all it has, `train` and `test` those that each part would get of them.
    """

    subject: str
    frames: int
    train: int
    test: int

    def __str__(self) -> str:
        """One clause for a message or a report."""
        return (
            f"{self.subject} has {self.frames} frame{'s' * (self.frames != 1)}: {self.train} to train, "
            f"{self.test} to test"
        )


@dataclass(frozen=True)
class PublishedProbe:
    """The published protocol's linear layer: `best` is its most accurate epoch on the test frames, as the
    paper's figure shows it, `best_epoch` counts from 1, `per_epoch` has all."""

    best: Accuracy
    best_epoch: int
    last: Accuracy
    per_epoch: tuple[float, ...]


@dataclass(frozen=True)
class LogisticProbe:
    """A logistic regression; `converged` tells whether its solver met its tolerance within its iterations."""

    accuracy: Accuracy
    iterations: int
    converged: bool


@dataclass(frozen=True)
class Division:
    """Both probes on one division of the frames.

    `gap_frames` is the shortest distance in frame numbers between training and test within one video, for the
    subjects `by_time` whose single video is divided. `chance` is 1 / subjects; `majority` the share of test
    frames that belong to the subject most frequent in training.
    """

    by: Literal["frames", "videos"]
    subjects: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    by_time: tuple[str, ...]
    gap_frames: int | None
    train_frames: int
    test_frames: int
    chance: float
    majority: float
    published: PublishedProbe
    logistic: LogisticProbe

    @property
    def divided(self) -> str:
        """How, in two words or three."""
        if not self.by_time:
            return f"by {self.by}"
        return "by time" if len(self.by_time) == len(self.subjects) else "by videos and time"


@dataclass(frozen=True)
class ProbeResult:
    """Identity in one feature matrix; `width` is D, the number of values per frame."""

    seed: int
    width: int
    frames: Division
    videos: Division
