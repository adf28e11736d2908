"""The page of a run: what it says, that it stands alone, and that its parts are right."""

from __future__ import annotations

import base64
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from facecorpus.errors import UserError
from fautrain.config import override, to_plain
from fautrain.recipes import pretraining_recipe
from fautrain.report import grids, write_report
from fautrain.report.charts import Curve, chart, smoothed
from fautrain.report.page import meaning
from fautrain.report.reading import Series, read_run
from fautrain.runlog import Line
from fautrain.runlog.lines import line_to_text

SIDE = 32
COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (160, 160, 20), (20, 160, 160)]


def grid(faces: int, shade: int) -> np.ndarray:
    """A grid laid out as the trainer's: original a colour, masked grey, reconstruction `shade`."""
    cell, columns = SIDE + 2, 2
    triple = 3 * cell + 4
    rows = -(-faces // columns)
    picture = np.full((rows * cell - 2, columns * triple - 6, 3), 255, np.uint8)
    for index in range(faces):
        top, left = index // columns * cell, index % columns * triple
        for part, colour in enumerate((COLOURS[index], (128,) * 3, (shade,) * 3)):
            picture[top : top + SIDE, left + part * cell : left + part * cell + SIDE] = colour
    return picture


def make_run(folder: Path, steps: int = 40, held_out: float = 0.62, grid_steps: int = 9) -> Path:
    """A run's folder after `steps` of 40 steps in 4 epochs."""
    folder.mkdir()
    settings = [f"model.image_px={SIDE}", "model.patch_px=8", "train.epochs=4", "optim.lr=1e-3"]
    config = to_plain(override(pretraining_recipe("tiny"), settings))
    (folder / "config.json").write_text(json.dumps(config))
    lines = [train(step, 1.5 - step / 50) for step in range(1, steps + 1)]
    if held_out:
        values = {"loss": held_out, "patch_mean": 1.0}
        lines.append(Line("held_out", steps, steps // 10, 1.7e9 + steps, values))
    (folder / "log.jsonl").write_text("".join(map(line_to_text, lines)))
    (folder / "grids").mkdir()
    for number in range(1, grid_steps + 1):
        path = folder / "grids" / f"step-{number:08d}.png"
        path.write_bytes(cv2.imencode(".png", grid(5, 20 * number))[1].tobytes())
    (folder / "checkpoints" / "step-00000040").mkdir(parents=True)
    (folder / "checkpoints" / "step-00000040" / "model.safetensors").write_bytes(bytes(12_345))
    (folder / "checkpoints" / ".step-00000099.part").mkdir()
    return folder


def train(step: int, loss: float, nonfinite: float = 0.0) -> Line:
    values = {"loss": loss, "patch_mean": 1.0, "lr": 1e-3, "grad_norm": 0.5, "images_per_s": 100.0}
    values |= {"data_wait": 0.25, "nonfinite": nonfinite}
    return Line("train", step, step / 10, 1.7e9 + step, values)


def words(page: Path) -> str:
    """The text of the page, without tags, styles and pictures."""
    text = page.read_text("utf-8")
    text = re.sub(r"<style>.*?</style>|<[^>]*>", " ", text, flags=re.S)
    return " ".join(text.split())


class _Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_headline_says_where_the_run_is_and_what_the_loss_means(tmp_path: Path) -> None:
    said = words(write_report(make_run(tmp_path / "first"), None))
    assert "first finished Recipe tiny" in said
    assert "Step 40 of 40" in said
    assert "Epoch 4 of 4" in said
    assert "Last training loss 0.7 " in said
    assert "Held-out loss 0.62 baseline 1 " in said
    assert "Loss / baseline 0.620" in said
    assert "On faces kept from training the model removes 38 % of the error" in said
    assert "Steps skipped, not finite 0 of" in said
    assert "step 40 epoch 4 12.3 kB" in said
    assert "step 99" not in said


def test_unfinished_run_counts_its_steps_by_the_fraction_of_the_epoch(tmp_path: Path) -> None:
    """A held-out line in the middle of an epoch counts whole ones alone: it must not decide."""
    said = words(write_report(make_run(tmp_path / "run", steps=25), None))
    assert "not finished" in said
    assert "Step 25 of 40" in said
    assert "Epoch 2.5 of 4" in said


def test_page_stands_alone_and_is_the_same_each_time(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    first = write_report(run, None)
    assert first == run / "report.html"
    second = write_report(run, tmp_path / "deep" / "other.html")
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in second.parent.iterdir()) == ["other.html"]
    page = _Addresses()
    page.feed(first.read_text("utf-8"))
    assert page.found
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.found)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert page.tags.count("svg") == 5
    assert not re.search(r"https?:|url\(|@import", first.read_text("utf-8"))


def test_names_are_escaped(tmp_path: Path) -> None:
    run = make_run(tmp_path / "<img src=x>\u202e&")
    config = json.loads((run / "config.json").read_text())
    config["data"]["shards"] = "<script>alert(1)</script>"
    (run / "config.json").write_text(json.dumps(config))
    text = write_report(run, None).read_text("utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<img src=x>" not in text
    assert "&lt;img src=x&gt;\\u202e&amp;" in text
    assert "\u202e" not in text


def test_nothing_written_yet_is_said(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps(to_plain(pretraining_recipe("tiny"))))
    said = words(write_report(run, None))
    assert "no log yet" in said
    assert "there are no curves to draw" in said
    assert "None drawn yet." in said
    assert "None written yet." in said


def test_no_held_out_samples_are_said(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", held_out=0, grid_steps=0)
    config = json.loads((run / "config.json").read_text())
    config["data"]["held_out"] = 0.0
    (run / "config.json").write_text(json.dumps(config))
    said = words(write_report(run, None))
    assert "no samples held out" in said
    assert "On training faces (none were kept from training) the model removes 30 %" in said
    assert "drawn of held-out samples, and data.held_out is 0" in said


def test_losses_that_are_not_finite_are_counted_and_not_drawn(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with (run / "log.jsonl").open("a") as log:
        log.write(line_to_text(train(41, math.nan, nonfinite=2.0)))
        log.write(line_to_text(train(42, math.inf, nonfinite=3.0)))
        log.write('{"kind": "train", "st')
    page = write_report(run, None)
    assert "Steps skipped, not finite 3 of" in words(page)
    assert "Last training loss 0.7 " in words(page)
    assert not re.search(r'd="[^"]*(nan|inf)', page.read_text("utf-8"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [(None, "holds no run"), ("{", "is damaged"), ('{"nmae": "x"}', "config.json: ")],
)
def test_no_run(tmp_path: Path, settings: str | None, message: str) -> None:
    if settings is not None:
        (tmp_path / "config.json").write_text(settings)
    with pytest.raises(UserError, match=message):
        write_report(tmp_path, None)
    assert not (tmp_path / "report.html").exists()


def test_to_must_be_a_file(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError, match="is a folder"):
        write_report(run, tmp_path)
    with pytest.raises(UserError, match="cannot be written"):
        write_report(run, run / "config.json" / "page.html")


def test_newest_grid_is_cut_into_faces_and_the_film_strip_is_bounded(tmp_path: Path) -> None:
    text = write_report(make_run(tmp_path / "run"), None).read_text("utf-8")
    faces, film = text.split('class="faces"')[1].split('class="film long"')
    assert "At step 9" in words_of(text)
    newest = [decoded(uri) for uri in re.findall(r'src="([^"]*)"', faces)]
    assert len(newest) == 5
    for picture, colour in zip(newest, COLOURS, strict=True):
        assert picture.shape == (SIDE, 3 * SIDE + 4, 3)
        assert np.abs(picture[8:24, 8:24].mean(axis=(0, 1)) - colour).max() < 8
        assert abs(picture[8:24, -24:-8].mean() - 180) < 4
    frames = [decoded(uri) for uri in re.findall(r'src="([^"]*)"', film.split("</section>")[0])]
    assert len(frames) == grids.MOST_FRAMES + 2
    assert [round(frame[8:24, 8:24].mean() / 20) for frame in frames[:-1]] == [1, 2, 4, 5, 7, 8, 9]
    assert np.abs(frames[-1][8:24, 8:24].mean(axis=(0, 1)) - COLOURS[0]).max() < 8


def test_unreadable_grid_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", grid_steps=3)
    (run / "grids" / "step-00000003.png").write_bytes(b"torn")
    said = words(write_report(run, None))
    assert "step-00000003.png cannot be read as a picture" in said
    assert "At step 2" in said


def test_grid_of_another_layout_is_shown_whole(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", grid_steps=0)
    other = np.full((50, 71, 3), 90, np.uint8)
    (run / "grids" / "step-00000040.png").write_bytes(cv2.imencode(".png", other)[1].tobytes())
    text = write_report(run, None).read_text("utf-8")
    uri = re.search(r'class="whole" src="([^"]*)"', text)
    assert uri
    assert decoded(uri[1]).shape == (50, 71, 3)


def test_changed_settings_are_marked_with_the_recipes_value(tmp_path: Path) -> None:
    text = write_report(make_run(tmp_path / "run"), None).read_text("utf-8")
    rows = re.findall(r'<tr class="changed"><th>(.*?)</th>', text)
    assert set(rows) == {"lr", "image_px", "patch_px", "epochs"}
    named = pretraining_recipe("tiny").model.image_px
    assert f"image_px {SIDE} recipe: {named}" in words_of(text)


def test_drawing_a_page_loads_no_torch(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    code = (
        "import sys; from pathlib import Path; from fautrain.report import write_report;"
        f"write_report(Path({str(run)!r}), None); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (0.625, "removes 37 % of the error"),
        (0.9949, "removes less than 1 % of the error"),
        (0.999, "does as well as"),
        (1.004, "does as well as"),
        (1.2, "does worse than"),
    ],
)
def test_meaning(ratio: float, said: str) -> None:
    assert said in meaning(ratio, held_out=True)


def test_smoothing_is_a_centred_mean_that_passes_over_gaps() -> None:
    values = np.array([1.0, 2.0, math.nan, 6.0, math.nan, math.nan, math.nan])
    found = smoothed(Series(np.arange(7.0), values)).values
    np.testing.assert_allclose(found, [1.5, 1.5, 4.0, 6.0, 6.0, math.nan, math.nan])


def test_long_curves_keep_their_extremes_and_few_points() -> None:
    steps = np.arange(1.0, 20_001.0)
    values = np.ones(20_000)
    values[12_345] = 0.0
    svg = chart("x", [Curve("main", Series(steps, values))], number=str, last_step=20_000)
    path = re.search(r'class="main" d="([^"]*)"', svg)
    assert path
    points = [tuple(map(float, point.split())) for point in path[1].lstrip("M").split("L")]
    assert len(points) <= 800
    low = max(points, key=lambda point: point[1])
    assert low[0] == pytest.approx(1000 * 12_346 / (20_000 * 1.012), abs=0.06)
    assert low[1] == pytest.approx(1000 * (1 - 0.05 / 1.1), abs=0.06)


def test_raw_peak_is_cut_and_said() -> None:
    values = np.ones(200)
    values[0], values[-1] = 1000.0, 0.5
    series = Series(np.arange(200.0), values)
    svg = chart("x", [Curve("raw", series)], number=lambda v: f"{v:g}", last_step=199)
    assert "Values up to 1000 lie above the frame." in svg
    assert "lie above" not in chart("x", [Curve("main", series)], number=str, last_step=199)


def test_read_run_passes_over_lines_whose_values_are_no_numbers(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    before = read_run(run).series("train", "loss")
    with (run / "log.jsonl").open("a") as log:
        log.write('{"kind":"train","step":41,"epoch":4.1,"time":1,"values":{"loss":"x","lr":null}}\n')
    loss = read_run(run).series("train", "loss")
    assert loss.values.tolist() == before.values.tolist()
    assert loss.last == pytest.approx(0.7)


def words_of(text: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def decoded(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.partition(",")[2])
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
