"""Errors meant for the person at the keyboard, and how a run says that a signal ended it."""

from __future__ import annotations

from facecorpus.errors import Stopped, UserError

__all__ = ["Stopped", "UserError"]
