"""The page: what was read, put into words and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from facecorpus.errors import UserError
from facecorpus.pages import page_template
from fautrain.config import PretrainConfig, to_plain
from fautrain.files import publish
from fautrain.grid import faces
from fautrain.recipes import pretraining_recipe
from fautrain.report import grids
from fautrain.report.charts import Curve, chart, smoothed
from fautrain.report.reading import Run, Series, read_run

_SAME = 0.005
"""A loss this near to the baseline's is called equal to it."""


def write_report(run_dir: Path, to: Path | None = None) -> Path:
    """Draws the run in `run_dir` into one HTML file and returns its path.

    The file is whole in itself (no network, pictures inside) and put in place in one move.

    Args:
        run_dir: folder of the run. to: the file; `run_dir`/report.html if it is none.

    Raises:
        UserError: the folder holds no run, or the file cannot be written.
    """
    run = read_run(run_dir)
    path = run_dir / "report.html" if to is None else to
    if path.is_dir():
        raise UserError(f"--to {path} is a folder; give the name of an HTML file")
    if path.exists() and b'name="generator" content="fautrain"' not in path.read_bytes()[:1000]:
        raise UserError(f"{path} exists and is no report of fautrain; give another --to")
    html = render(run)
    publish(path, html, "give another --to")
    return path


def render(run: Run) -> str:
    """The page's text."""
    return page_template("fautrain.report", number=_number, bytes=_bytes).render(
        run=run,
        config=run.config,
        losses=_losses(run),
        charts=_charts(run),
        pictures=_pictures(run),
        settings=_settings(run.config),
        when=_when(run),
        epoch_of=lambda step: step / run.steps_per_epoch if run.steps_per_epoch else None,
    )


def meaning(ratio: float, held_out: bool) -> str:
    """What the ratio of the loss to the baseline's says, in a sentence.

    The baseline fills each hidden patch with that patch's true mean (`fautrain.losses.pixels`).
    """
    where = "faces kept from training" if held_out else "training faces (none were kept from training)"
    known = "filling each hidden patch with its own true mean"
    if ratio < 1 - _SAME:
        # Rounded down: the page claims no more than was reached.
        share = int(100 * (1 - ratio) + 1e-9)
        return (
            f"On {where} the model removes {share or 'less than 1'} % of the error that {known} would leave."
        )
    if ratio <= 1 + _SAME:
        return f"On {where} the model does as well as {known}: no detail inside the patches yet."
    return f"On {where} the model does worse than {known}: it has not learnt to fill patches yet."


def _losses(run: Run) -> dict[str, Any]:
    held_out = run.series("held_out", "loss").last is not None
    kind = "held_out" if held_out else "train"
    loss, baseline = run.series(kind, "loss").last, run.series(kind, "patch_mean").last
    ratio = loss / baseline if loss is not None and baseline else None
    return {
        "train": run.series("train", "loss").last,
        "held_out": loss if held_out else None,
        "baseline": baseline,
        "ratio": ratio,
        "meaning": meaning(ratio, held_out) if ratio is not None else None,
        "wanted": run.config.data.held_out > 0,
    }


def _charts(run: Run) -> dict[str, Any]:
    loss = run.series("train", "loss")
    known = _losses(run)["baseline"]
    # One level line: the baseline depends on the samples alone, not on what the model has learnt.
    baseline = Series(np.array([0.0, run.step]), np.array([known, known], np.float64))
    curves = [
        Curve("raw", loss),
        Curve("main", smoothed(loss)),
        Curve("points", run.series("held_out", "loss")),
    ]
    if known is not None:
        curves.insert(0, Curve("base", baseline))
    found = {"loss": chart("Loss", curves, number=_number, last_step=run.step)}
    small: list[tuple[str, str, float | None, Markup]] = []
    for name, title, about in (
        ("lr", "Learning rate", ""),
        ("grad_norm", "Gradient norm", "before clipping"),
        ("images_per_s", "Images per second", ""),
        ("data_wait", "Waiting for data", "% of the time"),
    ):
        series = run.series("train", name)
        if name == "data_wait":
            series = Series(series.steps, 100 * series.values)
        curves = [Curve("main", series)]
        if name != "lr":
            curves = [Curve("raw", series), Curve("main", smoothed(series))]
        drawn = chart(title, curves, number=_number, last_step=run.step, from_zero=True)
        small.append((title, about, series.last, drawn))
    return {**found, "small": small, "mfu": run.series("train", "mfu").last}


def _pictures(run: Run) -> dict[str, Any]:
    """The newest grid face by face, and some faces through the earlier ones."""
    # Only what is shown is read: a long run has hundreds.
    read = {step: grids.read_grid(run.grids[step]) for step in list(run.grids)[-1:]}
    read |= {step: grids.read_grid(run.grids[step]) for step in grids.spread(list(run.grids)[:-1])}
    unreadable = [run.grids[step].name for step, grid in sorted(read.items()) if grid is None]
    whole = {step: grid for step, grid in sorted(read.items()) if grid is not None}
    if not whole:
        return {"newest": None, "frames": [], "unreadable": unreadable}
    side = run.config.model.image_px
    newest, last = max(whole), whole[max(whole)]
    found = faces(last, side)
    triples = [grids.triple_uri(face) for face in found[: grids.MOST_FACES]]
    frames: list[dict[str, Any]] = []
    followed = found[: grids.STRIP_FACES]
    for step in [step for step in whole if step != newest]:
        cut = faces(whole[step], side)[: grids.STRIP_FACES]
        image = grids.stacked([face[2] for face in cut]) if cut else grids.data_uri(whole[step], 480)
        frames.append({"step": step, "image": image})
    omitted = len(run.grids) - len(read)
    if frames and followed:
        ends = [grids.stacked([face[part] for face in followed]) for part in (2, 0)]
        frames += [{"step": newest, "image": ends[0]}, {"step": None, "image": ends[1]}]
    return {
        "newest": newest,
        "triples": triples,
        "faces": len(found),
        "whole": None if triples else grids.data_uri(last),
        "frames": frames,
        "omitted": omitted,
        "unreadable": unreadable,
    }


def _settings(config: PretrainConfig) -> list[tuple[str, list[tuple[str, str, str, bool]]]]:
    """(group, [(name, value, the recipe's value, whether they differ)])."""
    now = to_plain(config)
    try:
        named = to_plain(pretraining_recipe(config.name))
    except UserError:
        named = now
    single = {name: value for name, value in now.items() if not isinstance(value, Mapping)}
    groups: dict[str, Mapping[str, Any]] = {"run": single} | {
        name: value for name, value in now.items() if isinstance(value, Mapping)
    }
    return [
        (
            group,
            [
                (name, _text(value), _text(before), before != value)
                for name, value in values.items()
                for before in [(named if group == "run" else named[group]).get(name, value)]
                if name != "about"
            ],
        )
        for group, values in groups.items()
    ]


def _when(run: Run) -> str:
    """The times of the first and last lines."""
    if not run.lines:
        return ""
    first, last = (datetime.fromtimestamp(run.lines[at].time, UTC) for at in (0, -1))
    same = first.date() == last.date()
    return f"{first:%Y-%m-%d %H:%M} to {last.strftime('%H:%M' if same else '%Y-%m-%d %H:%M')} UTC"


def _number(value: float) -> str:
    """Three or four digits that matter, as 0.7981, 2,160 or 1.5e-4.

    >>> [_number(v) for v in (0, 0.79811, 19.733, 2160.4, 0.00015, 20000000)]
    ['0', '0.7981', '19.73', '2,160', '1.5e-4', '2e7']
    """
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _bytes(value: int) -> str:
    """A size in units of 1000.

    >>> [_bytes(v) for v in (999, 12345, 7_654_321, 1_300_000_000)]
    ['999 B', '12.3 kB', '7.7 MB', '1.3 GB']
    """
    size, units = float(value), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} B" if units[0] == "B" else f"{size:.1f} {units[0]}"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
