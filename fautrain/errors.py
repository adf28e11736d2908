"""Errors meant for the person at the keyboard."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend. The message is one sentence that names the file, field or option and the
    remedy.

    The command line prints the message alone (a traceback only with `--debug`) and exits with `exit_code`.
    """

    exit_code = 2
