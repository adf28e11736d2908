"""One self-contained HTML page about a corpus: no script, no network, nothing outside the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facecorpus import recipes, storage, typed
from facecorpus.errors import UserError
from facecorpus.pages import page_template
from facecorpus.phases import materialise, verify
from facecorpus.phases.corpus import CONFIG, Corpus
from facecorpus.reasons import REASONS
from facecorpus.report import counts, gallery
from facecorpus.report.alarms import alarms
from facecorpus.report.charts import histogram, measure
from facecorpus.report.funnel import funnel
from facecorpus.report.gallery import template_points
from facecorpus.report.labels import labels_of
from facecorpus.report.sampled import Originals
from facecorpus.report.survey import Survey, survey

PAGE = "report.html"
MATRIX_SOURCES = 20
"""Sources in the table of overlaps, at most."""


def write_report(corpus: Corpus, to: str | None) -> str:
    """Publish the page at `to` (default `report.html` in the corpus) and return where it is.

    The same corpus, sources and library versions give the same bytes. The numbers are those of the whole
    corpus, except for histograms above 500,000 rows; pictures are picked by hashed id, so that the page stays
    below about 6 MB whatever the corpus. Sources that have gone since are named in place of their pictures.

    Raises:
        UserError: the corpus has no selection yet.
    """
    where = to or storage.join(corpus.out, PAGE)
    if to and storage.exists(to):
        _refuse_others(to)
    text = render(corpus)
    storage.publish(where, lambda file: (file.write(text.encode()), None)[1])
    return where


def _refuse_others(url: str) -> None:
    """Refuse to replace what is no page of ours.

    Raises:
        UserError: it is not.
    """
    head = b""
    if not storage.is_dir(url):
        with storage.open_read(url) as file:
            head = file.read(1000)
    if b'name="generator" content="facecorpus"' not in head:
        raise UserError(f"--to {url} exists and is no report of facecorpus; give another name")


def render(corpus: Corpus) -> str:
    """The page as text."""
    found = survey(corpus, lambda group: gallery.wanted(corpus, group))
    originals = Originals(corpus)
    try:
        strips = gallery.strips(corpus, found, originals)
        clusters = gallery.clusters(corpus, found, originals)
    finally:
        originals.close()
    whole = counts.total(found.ledgers)
    measures = measure(corpus, found.units)
    return page_template("facecorpus.report", short=short).render(
        corpus=corpus,
        recipe=corpus.recipe,
        whole=whole,
        headline=counts.headline(whole),
        alarms=alarms(corpus, found.ledgers),
        ledgers=found.ledgers,
        built=_built(corpus),
        funnels=[(entry, funnel(entry)) for entry in _panels(found)],
        kept=gallery.kept_faces(corpus, found),
        strips=strips,
        clusters=clusters,
        labelled=labels_of(corpus),
        measures=measures,
        histogram=histogram,
        matrix=_matrix(found),
        values=_recipe_values(corpus),
        config=storage.read_json(storage.join(corpus.out, CONFIG)),
        about={name: REASONS.get(name).about for name in REASONS},
        rings=template_points(corpus.recipe).tolist(),
        troubles=originals.troubles,
    )


def short(text: str, limit: int = 44) -> str:
    """The text with its middle left out where it is longer than `limit`."""
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    return f"{text[:head]}…{text[-(limit - 1 - head) :]}"


def _panels(found: Survey) -> list[Any]:
    """All sources together, then each."""
    entries = list(found.ledgers.values())
    return [counts.total(found.ledgers), *entries] if len(entries) > 1 else entries


def _built(corpus: Corpus) -> dict[str, Any]:
    """Shards, samples, and whether these very shards were verified."""
    url = storage.join(corpus.out, materialise.SHARDS)
    if not storage.exists(url):
        return {"shards": 0, "samples": 0, "verified": False, "why": "no shards yet"}
    table = storage.read_table(url, columns=["shard", "samples", "sha256"])
    now = dict(zip(table["shard"].to_pylist(), table["sha256"].to_pylist(), strict=True))
    checked = storage.join(corpus.out, verify.VERIFIED)
    built = {"shards": len(now), "samples": sum(table["samples"].to_pylist())}
    if not storage.exists(checked):
        return {**built, "verified": False, "why": "not verified yet"}
    same = storage.read_json(checked)["shards"] == now
    return {**built, "verified": same, "why": "" if same else "changed since it was verified"}


def _matrix(found: Survey) -> dict[str, Any]:
    pairs = gallery.overlap(found)
    names = gallery.sources_with(pairs, list(found.ledgers))
    shown = sorted(names, key=lambda n: -sum(c for pair, c in pairs.items() if n in pair))[:MATRIX_SOURCES]
    names = [name for name in names if name in shown]
    across = sum(count for (a, b), count in pairs.items() if a != b)
    peak = max(pairs.values(), default=1)
    cells = [[pairs.get((row, column), 0) for column in names] for row in names]
    return {"names": names, "cells": cells, "peak": peak, "across": across, "all": sum(pairs.values())}


def _recipe_values(corpus: Corpus) -> Sequence[tuple[str, Any, Any, bool]]:
    """(name, value, value of the recipe as named, whether they differ), nested names joined by dots."""
    now = _flat(typed.to_plain(corpus.recipe))
    try:
        named = _flat(typed.to_plain(recipes.recipe(corpus.recipe.name)))
    except UserError:
        named = now
    hidden = ("name", "about", "sources")
    return [
        (name, _text(value), _text(named.get(name)), name in named and named[name] != value)
        for name, value in now.items()
        if name not in hidden
    ]


def _flat(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in value.items():
        flat |= _flat(item, f"{path}{name}.") if isinstance(item, Mapping) else {f"{path}{name}": item}
    return flat


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
