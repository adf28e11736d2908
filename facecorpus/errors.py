"""Errors meant for the person at the keyboard, and how a command says that a signal ended it."""

from __future__ import annotations

import signal


class UserError(Exception):
    """Something the user can mend. The message is one sentence that names the file, field or option and the
    remedy.

    The command line prints the message alone (a traceback only with `--debug`) and exits with 2.
    """


class Stopped(BaseException):
    """A signal ended the command, whose finished parts are kept; no Exception, so that nothing takes it for
    an error. The command exits as a shell reports a process that the signal killed (143 for SIGTERM, 130 for
    SIGINT), so that no script goes on with half of the work."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command goes on where it was")
        self.exit_code = 128 + number


class Unfinished(Stopped):
    """What this process was to do is done, and work of others lacks that is needed to go on; the command
    exits with 75, which says that it shall be tried again."""

    def __init__(self, message: str) -> None:
        BaseException.__init__(self, message)
        self.exit_code = 75


def in_a_line(error: BaseException) -> str:
    """What a library's error says, as part of a sentence: one line, not without end, never empty."""
    return " ".join(str(error).split())[:300] or type(error).__name__
