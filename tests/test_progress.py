"""Progress where there is no terminal: plain lines, now and then and at the end."""

from __future__ import annotations

import re

import pytest

from facecorpus import progress
from facecorpus.progress import Progress


def test_plain_lines_count_and_say_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    with Progress("score", 3000, "images", done=1000) as shown:
        shown.update(1000)
        shown.update(1000)
    first, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"score: 2,000 of 3,000 images in \d+\.\d s, [\d,]+/s, \d+ s left", first)
    assert re.fullmatch(r"score: 3,000 of 3,000 images in \d+\.\d s, [\d,]+/s", last)


def test_nothing_to_do_and_a_failure_end_without_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("select", 5, "rows", done=5):
        pass
    with pytest.raises(KeyError), Progress("select", 5, "rows") as shown:
        shown.update(1)
        raise KeyError
    assert capsys.readouterr().err == ""
