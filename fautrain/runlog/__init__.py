"""What a run tells: `log.jsonl` always, trackers by choice, a bar or plain lines on the screen."""

from __future__ import annotations

from fautrain.runlog.lines import Line, read_log
from fautrain.runlog.runlog import RunLog
from fautrain.runlog.screen import Screen, duration

__all__ = ["Line", "RunLog", "Screen", "duration", "read_log"]
