"""The pictures of the page: what was kept, examples of every reason, duplicates side by side, the mean crop.

In the mean eyes and mouth are sharp where the alignment works, a smear where it does not. A crop that was cut
nearer than its template is put back to where the template has it, so that one mean holds crops of every zoom.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from facecorpus.faces.align import TEMPLATES, align_similarity
from facecorpus.faces.warp import inverse
from facecorpus.images import Pixels
from facecorpus.phases.corpus import Corpus
from facecorpus.recipes import CorpusRecipe
from facecorpus.record import State
from facecorpus.report.counts import words
from facecorpus.report.sampled import Originals, pixels, read_samples, round_robin
from facecorpus.report.survey import Group, Row, Survey, rank, rows_where
from facecorpus.report.tiles import Tile, data_uri, shrink, source_tiles

TEMPLATE_PX = 224
"""Side of the crop that `TEMPLATES` describe."""


class MeanFace:
    """A running mean of pictures of one size."""

    def __init__(self, side_px: int) -> None:
        self.side_px = side_px
        self.count = 0
        self._sum = np.zeros((side_px, side_px, 3), np.float64)
        self._weight = np.zeros((side_px, side_px, 1), np.float64)

    def add(self, rgb: Pixels, place: NDArray[np.float64] | None = None) -> None:
        """Add a square picture of any size; `place` (2, 3) maps its pixels to those of the mean."""
        side = self.side_px
        self.count += 1
        if place is not None:
            ones = np.ones(rgb.shape[:2], np.float32)
            self._sum += cv2.warpAffine(rgb, place, (side, side))  # black outside
            self._weight += cv2.warpAffine(ones, place, (side, side))[..., None]
            return
        if rgb.shape[:2] != (side, side):
            rgb = np.asarray(cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
        self._sum += rgb
        self._weight += 1

    def picture(self) -> Pixels:
        """The mean, (side, side, 3) uint8; grey where fewer than a tenth of the pictures reach."""
        mean = self._sum / np.maximum(self._weight, 1e-9)
        return np.where(
            self._weight < max(0.1 * self.count, 0.5), 128, np.rint(np.minimum(mean, 255))
        ).astype(np.uint8)


def place_in_template(
    points: Sequence[float] | None, matrix: Sequence[float], recipe: CorpusRecipe
) -> NDArray[np.float64] | None:
    """The matrix (2, 3) that puts a crop back to where the recipe's template has it, or None without one.

    Args:
        points: the ten coordinates of the five points in the source.
        matrix: the six numbers of the matrix from source to crop.
        recipe: says the template.
    """
    if points is None or not len(template_points(recipe)):
        return None
    whole = align_similarity(points, recipe.size_px, recipe.template).matrix
    back = inverse(np.reshape(np.array(matrix, np.float64), (2, 3)))
    linear = whole[:, :2] @ back
    linear[:, 2] += whole[:, 2]
    return linear


def template_points(recipe: CorpusRecipe) -> NDArray[np.float64]:
    """Where the five points belong, (5, 2) fractions of the crop's side; (0, 2) without a template."""
    if recipe.align != "similarity" or recipe.template not in TEMPLATES:
        return np.empty((0, 2))
    return (TEMPLATES[recipe.template] + 0.5) / TEMPLATE_PX


pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

KEPT_PER_SOURCE = 200
"""Crops averaged for a source's mean face, at most; 1,600 in all."""
SOURCES_SHOWN = 24
EXAMPLES = 140
"""Examples of rejections and failures in all; up to 8 of each reason, at least 1."""
CLUSTERS = 16
ACROSS = 12
"""Of these, across sources, where there are others to fill the rest."""
MEMBERS = 5
"""Records shown of a cluster, the kept one included."""
_CROP_PX = 104
_ROW = 13
"""Crops side by side on a wide screen."""
_MEAN_PX = 144


@dataclass(frozen=True, slots=True)
class KeptFaces:
    """Kept crops of one source."""

    source: str
    samples: int
    mean: str
    averaged: int
    crops: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """Examples of one reason."""

    state: str
    reason: str
    words: str
    count: int
    by_source: tuple[tuple[str, int], ...]
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Records that show the same picture."""

    tiles: tuple[Tile, ...]
    size: int
    crosses: bool


def wanted(corpus: Corpus, group: Group) -> int:
    """Rows of a group that the survey picks for these pictures."""
    if group.state == State.KEPT:
        return max(min(KEPT_PER_SOURCE, 1600 // max(len(corpus.sources), 1)), 8)
    return 8


def kept_faces(corpus: Corpus, found: Survey) -> list[KeptFaces]:
    """A mean face and some crops of the sources that have samples, the largest `SOURCES_SHOWN` of them."""
    groups = [group for group in found.picked if group.state == State.KEPT]
    groups = sorted(groups, key=lambda g: (-found.counts[g], g.source))[:SOURCES_SHOWN]
    order = list(found.ledgers)
    each = _ROW * min(max(12 // max(len(groups), 1), 1), 3)
    shown = {row.id for group in groups for row in found.picked[group][:each]}
    means: dict[str, MeanFace] = defaultdict(lambda: MeanFace(corpus.recipe.size_px))
    tiles: dict[str, dict[str, Tile]] = defaultdict(dict)
    for row, data, cut in read_samples(corpus, (row for group in groups for row in found.picked[group])):
        rgb = pixels(data)
        if rgb is None:
            continue
        place = place_in_template(cut.points_px, cut.matrix, corpus.recipe) if cut.zoom > 1 else None
        means[row.source].add(rgb, place)
        if row.id in shown:
            small = shrink(rgb, _CROP_PX)
            tiles[row.source][row.id] = Tile(
                row.id, data_uri(small), small.shape[1], small.shape[0], "", "", ""
            )
    faces: list[KeptFaces] = []
    for group in sorted(groups, key=lambda g: order.index(g.source)):
        mean = means[group.source]
        image = shrink(mean.picture(), _MEAN_PX)
        own = tiles[group.source]
        crops = tuple(own[row.id] for row in found.picked[group] if row.id in own)
        uri = data_uri(image, 88) if mean.count else ""
        faces.append(KeptFaces(group.source, found.counts[group], uri, mean.count, crops))
    return faces


def strips(corpus: Corpus, found: Survey, originals: Originals) -> list[Strip]:
    """Examples of every reason of rejection, then of failure, the most common first."""
    by_reason: dict[tuple[str, str], list[Group]] = defaultdict(list)
    for group in found.counts:
        if group.state in (State.REJECTED, State.FAILED):
            by_reason[(group.state, group.reason)].append(group)
    chosen = _choose_examples(found, by_reason)
    tiles = source_tiles(corpus, [row for rows in chosen.values() for row in rows], originals)
    made: list[Strip] = []
    for (state, reason), groups in by_reason.items():
        counts = sorted(((g.source, found.counts[g]) for g in groups), key=lambda item: (-item[1], item[0]))
        pictures = tuple(tiles[row.id] for row in chosen[(state, reason)] if row.id in tiles)
        total = sum(count for _, count in counts)
        made.append(Strip(state, reason, words(reason), total, tuple(counts), pictures))
    return sorted(made, key=lambda strip: (strip.state != State.REJECTED, -strip.count, strip.reason))


def _choose_examples(
    found: Survey, by_reason: Mapping[tuple[str, str], Sequence[Group]]
) -> dict[tuple[str, str], list[Row]]:
    """At most `EXAMPLES` rows in all, shared evenly by the reasons, and for each reason by the sources."""
    each = max(min(8, EXAMPLES // max(len(by_reason), 1)), 1)
    left = EXAMPLES
    chosen: dict[tuple[str, str], list[Row]] = {}
    for reason, groups in sorted(by_reason.items()):
        chosen[reason] = round_robin(
            (found.picked.get(group, []) for group in sorted(groups)), min(each, left)
        )
        left -= len(chosen[reason])
    return chosen


def clusters(corpus: Corpus, found: Survey, originals: Originals) -> list[Cluster]:
    """Some duplicate clusters, those across sources first, each with its kept record in front."""
    chosen = _choose_clusters(found)
    values = pa.array(chosen, pa.string())
    members: dict[str, list[Row]] = defaultdict(list)
    sizes: dict[str, int] = defaultdict(int)
    if chosen:
        for row in rows_where(corpus, lambda table: pc.is_in(table["cluster"], value_set=values)):
            name = row.cluster or ""
            sizes[name] += 1
            members[name] = sorted([*members[name], row], key=_member_order)[:MEMBERS]
    rows = [row for name in chosen for row in members[name]]
    tiles = source_tiles(corpus, rows, originals, points=False)
    made: list[Cluster] = []
    for name in chosen:
        shown = tuple(tiles[row.id] for row in members[name] if row.id in tiles)
        if shown:
            made.append(Cluster(shown, sizes[name], len({row.source for row in members[name]}) > 1))
    return sorted(made, key=lambda cluster: not cluster.crosses)


def _member_order(row: Row) -> tuple[bool, bool, int]:
    """The kept record first, then the copies of it that are in other sources."""
    across = row.duplicate_of is not None and row.duplicate_of.partition("/")[0] != row.source
    return row.state != State.KEPT, not across, rank(row.id)


def _choose_clusters(found: Survey) -> list[str]:
    """Names of clusters: across sources first, taking turns between kinds of link and pairs of sources."""
    groups = sorted(group for group in found.picked if group.state == State.DUPLICATE)
    across = [found.picked[group] for group in groups if group.kept_source != group.source]
    within = [found.picked[group] for group in groups if group.kept_source == group.source]
    first, second = (_cluster_names(rows) for rows in (across, within))
    second = [name for name in second if name not in set(first[:ACROSS])]
    return list(dict.fromkeys([*first[:ACROSS], *second[: CLUSTERS - ACROSS], *first, *second]))[:CLUSTERS]


def _cluster_names(groups: Sequence[Sequence[Row]]) -> list[str]:
    rows = round_robin(groups, sum(map(len, groups)))
    return list(dict.fromkeys(row.cluster for row in rows if row.cluster))


def overlap(found: Survey) -> Mapping[tuple[str, str], int]:
    """(source of the duplicate, source of the kept record) -> duplicates."""
    pairs: dict[tuple[str, str], int] = defaultdict(int)
    for group, count in found.counts.items():
        if group.state == State.DUPLICATE:
            pairs[(group.source, group.kept_source)] += count
    return pairs


def sources_with(pairs: Iterable[tuple[str, str]], order: Sequence[str]) -> list[str]:
    """The sources that have duplicates, in the order of the corpus."""
    named = {name for pair in pairs for name in pair}
    return [name for name in order if name in named]
