"""Errors meant for the person at the keyboard, and how a run says that a signal ended it."""

from __future__ import annotations

import signal

from facecorpus.errors import UserError

__all__ = ["Stopped", "UserError"]


class Stopped(Exception):  # noqa: N818 - no error: everything is saved
    """A signal ended a run before its time, after a checkpoint. The command line exits as a shell reports a
    process that the signal killed (143 for SIGTERM, 130 for SIGINT), so that no script goes on with half a
    model."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command goes on where it was")
        self.exit_code = 128 + number
