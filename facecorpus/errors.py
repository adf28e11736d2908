"""Errors meant for the person at the keyboard."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend. The message is one sentence that names the file, field or option and the
    remedy.

    The command line prints the message alone (a traceback only with `--debug`) and exits with `exit_code`.
    """

    exit_code = 2


class Stopped(BaseException):
    """A signal ended the command, whose finished parts are kept; no Exception, so that nothing takes it for
    an error."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def in_a_line(error: BaseException) -> str:
    """What a library's error says, as part of a sentence: one line, not without end, never empty."""
    return " ".join(str(error).split())[:300] or type(error).__name__
