"""A run on one page: its curves, reconstructions, checkpoints and settings, in a single HTML file.

The page is drawn from the run's files alone and needs neither torch nor a network; the same files give the
same bytes.
"""

from __future__ import annotations

from fautrain.report.page import write_report

__all__ = ["write_report"]
