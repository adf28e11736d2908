"""What was built, for people: the ledger as text, a page with pictures, everything about one input."""

from __future__ import annotations

from facecorpus.report.alarms import alarms, nothing_kept
from facecorpus.report.counts import ledger_json, ledger_markdown, ledger_text
from facecorpus.report.inspection import inspect_record
from facecorpus.report.labels import labels_json, labels_of, labels_text
from facecorpus.report.page import write_report

__all__ = [
    "alarms",
    "inspect_record",
    "labels_json",
    "labels_of",
    "labels_text",
    "ledger_json",
    "ledger_markdown",
    "ledger_text",
    "nothing_kept",
    "write_report",
]
