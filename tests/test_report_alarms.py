"""A build says at its end, and its page at the top, when one reason took much of a source, and what helps."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import run

from facecorpus.reasons import REASONS
from facecorpus.recipes import CorpusRecipe, face9m_script, sample
from facecorpus.report.alarms import remedy
from facecorpus.synth.face import Framing, draw_face
from facecorpus.synth.identity import Identity
from facecorpus.typed import override, to_plain


def draw(path: Path, number: int, side_px: int, **framing: float) -> np.ndarray:
    rgb, _, _ = draw_face(Identity.sample(5, number), size_px=side_px, framing=Framing(**framing), backdrop=1)
    cv2.imwrite(str(path), rgb[:, :, ::-1])
    return rgb


def test_a_build_ends_with_what_took_much_of_a_source(tmp_path: Path) -> None:
    for name in ("wide", "good"):
        (tmp_path / name).mkdir()
    for number in range(3):
        rgb = draw(tmp_path / "good" / f"{number}.png", number, 160)
        wide = np.hstack([rgb, np.full((160, 130, 3), 90, np.uint8)])
        cv2.imwrite(str(tmp_path / "wide" / f"{number}.png"), wide[:, :, ::-1])
    arguments = ["--root", str(tmp_path), "--sources", "wide=folder:wide,good=folder:good"]
    done = run("build", *arguments, "--out", str(tmp_path / "out"), "--recipe", "face9m")
    (alarm,) = [line for line in done.stderr.splitlines() if line.startswith("alarm:")]
    assert done.stderr.rstrip().endswith(alarm)
    assert "wide: 100 % aspect ratio, 3 of 3 (e.g. wide/0.png: the image is 290 x 160 px" in alarm
    assert "Face9M paper" in alarm and "--set limits.max_aspect_ratio=none" in alarm
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.index("Alarm.") < page.index('id="funnel"')
    assert "wide: 100 % aspect ratio" in page
    lifted = ["--out", str(tmp_path / "lifted"), "--set", "limits.max_aspect_ratio=none", "--no-report"]
    assert "alarm" not in run("build", *arguments, *lifted, "--recipe", "face9m").stderr


def test_a_build_of_no_pictures_does_not_speak_of_limits(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "page.html").write_bytes(b"<!DOCTYPE html><html>sign in</html>")
    (folder / "notes.txt").write_text("pictures follow")
    done = run(
        "build", "--root", str(tmp_path), "--sources", "folder", "--out", str(tmp_path / "out"), check=False
    )
    assert done.returncode == 2
    assert "none of the 2 inputs was kept (2 not_an_image, for example folder/" in done.stderr
    assert "limits" not in done.stderr and "--set" not in done.stderr


@pytest.mark.parametrize("recipe", [sample(), face9m_script()], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("reason", list(REASONS))
def test_every_remedy_names_settings_that_exist(reason: str, recipe: CorpusRecipe) -> None:
    recipe = override(recipe, ["limits.faces=one"])
    said = remedy(reason, recipe)
    assert said and said != remedy("a reason yet to come", recipe)
    for name, value in re.findall(r"--set ([\w.]+)=([\w-]+)", said):
        value = {"NUMBER": "1"}.get(value, value)
        changed = override(recipe, [f"{name}={value}"])
        assert to_plain(changed) != to_plain(recipe) or value == "1"
    if reason in ("not_an_image", "corrupt", "empty", "unreadable", "error"):
        assert "--set" not in said


def test_drawn_sets_raise_no_alarm(corpus: Path) -> None:
    from facecorpus.phases import corpus as corpora
    from facecorpus.report.alarms import alarms
    from facecorpus.report.survey import survey

    opened = corpora.load(str(corpus))
    assert alarms(opened, survey(opened, lambda group: 0).ledgers) == []
