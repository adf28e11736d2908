"""From the manifests of a labelled corpus to arrays: one row per frame that a benchmark counts."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from facecorpus import schema
from facecorpus.errors import UserError
from fautrain.data.benchmark import Benchmark
from fautrain.data.index import Corpus
from fautrain.data.order import Ints
from fautrain.data.parquet import read_columns
from fautrain.data.shards import filesystem
from fautrain.targets import UNCODED, Target

pc: Any = pyarrow.compute  # its functions are made at import, where a type checker does not see them

_COLUMNS = ["key", "source", "identity", "video", "frame", "split", "labels"]
_UNITS = {"subject": "identity", "video": "video", "picture": "key"}
"""Which column says what a benchmark's `unit` is."""
_FIELDS = pa.schema([schema.MANIFEST.field(name).with_nullable(name != "key") for name in _COLUMNS])


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSet:
    """The frames of a corpus that a benchmark counts, in the corpus' order; n frames, A outputs."""

    benchmark: Benchmark
    corpus: Corpus
    target: Target
    """The benchmark's, of the outputs asked for."""
    rows: Ints
    """(n,), ascending: numbers of the samples in `corpus`."""
    subject: Ints
    """(n,): index into `subjects`."""
    video: NDArray[np.str_]
    """(n,): camera or task."""
    frame: NDArray[np.int32]
    """(n,): number within the video, as annotated."""
    targets: NDArray[np.float32]
    """(n, A): as `target` decodes them, nan not coded. No row is all nan: such a frame is left out."""
    absent: tuple[str, ...]
    """Subjects of the benchmark without a frame here."""
    subjects: tuple[str, ...]
    """The benchmark's, else those that the shards name: people, or what its `unit` takes for one."""
    partition: NDArray[np.str_]
    """(n,): the official part that the shards' column `split` says; empty where it says none."""

    def __len__(self) -> int:
        return len(self.rows)

    def names(self, indices: Ints) -> tuple[str, ...]:
        """Subjects of frames, once each, by their index."""
        return tuple(self.subjects[i] for i in np.unique(self.subject[indices]).tolist())

    def within(self, values: Iterable[str]) -> NDArray[np.bool_]:
        """(n,): whether what says a frame's part, `benchmark.by`, is one of the values."""
        if self.benchmark.by != "subject":
            said = self.video if self.benchmark.by == "video" else self.partition
            return np.isin(said, list(values))
        number = {name: index for index, name in enumerate(self.subjects)}
        return np.isin(self.subject, [number[value] for value in values])

    def told(self, place: Ints) -> dict[str, NDArray[Any]]:
        """What predictions tell of frames by `place` (n,) in this set: key, subject, video, frame, target."""
        return {
            "key": np.array([self.corpus.key(row) for row in self.rows[place].tolist()]),
            "subject": np.array(self.subjects)[self.subject[place]],
            "video": self.video[place],
            "frame": self.frame[place],
            "target": self.targets[place],
        }

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the A outputs."""
        return self.target.outputs


def read_labels(corpus: Corpus, benchmark: Benchmark, outputs: tuple[str, ...] = ()) -> LabelledSet:
    """The labels of all frames that `benchmark` counts; `outputs`: these only, empty for all.

    Raises:
        UserError: the shards are of another data set, have no labels, lack one or the camera, hold a subject
            or a code that the benchmark does not know, or a frame twice; or it has no such output.
    """
    target = benchmark.target.only(outputs, benchmark.name)
    table = _read_manifests(corpus, benchmark)
    rows = _rows_of_source(table, benchmark)
    table = table.take(rows)
    if table.column("labels").null_count == len(table):
        raise _unlabelled(corpus.shards[0].name, benchmark)
    for column, values, remedy in (
        ("video", benchmark.videos, "build those, or change videos in"),
        (benchmark.by, benchmark.parts, "build those, or change train and test in"),
    ):
        if values and column != "subject":
            kept = _rows_with(table, benchmark, column, values, remedy)
            rows, table = rows[kept], table.take(kept)
    targets = target.decode(np.stack([_codes(table, benchmark, key) for key in target.labels], axis=1))
    coded = np.flatnonzero(~np.isnan(targets).all(axis=1))
    rows, table, targets = rows[coded], table.take(coded), targets[coded]
    subjects, subject = _subjects(table, benchmark)
    video, frame = _frames(table, subject, benchmark)
    seen = {*np.unique(subject).tolist()}
    return LabelledSet(
        benchmark=benchmark,
        corpus=corpus,
        target=target,
        rows=rows,
        subject=subject,
        video=video,
        frame=frame,
        targets=targets,
        absent=tuple(name for index, name in enumerate(subjects) if index not in seen),
        subjects=subjects,
        partition=_texts(table.column("split"))[1],
    )


def _build(benchmark: Benchmark) -> str:
    return f"`facecorpus build --sources {benchmark.source}`"


def _unlabelled(what: str, benchmark: Benchmark) -> UserError:
    return UserError(
        f"data.shards: {what} has no labels; give shards that {_build(benchmark)} made, with their manifests"
    )


def _read_manifests(corpus: Corpus, benchmark: Benchmark) -> pa.Table:
    """All manifests end to end: row n is sample n of the corpus."""
    tables: list[pa.Table] = []
    for shard, index in zip(corpus.shards, corpus.indexes, strict=True):
        fs, path = filesystem(posixpath.splitext(shard.url)[0] + ".parquet")
        if not fs.exists(path):
            raise _unlabelled(shard.name, benchmark)
        table = read_columns(fs, path, _FIELDS)
        if table is None:
            raise _unlabelled(shard.name, benchmark)
        if table.column("key").cast(pa.binary()).to_pylist() != index.keys.tolist():
            raise UserError(f"the manifest {path} does not list the samples of its shard; rebuild the corpus")
        tables.append(table)
    return pa.concat_tables(tables).combine_chunks()


def _rows_of_source(table: pa.Table, benchmark: Benchmark) -> Ints:
    rows = _where(pc.equal(table.column("source"), benchmark.source))
    if not len(rows):
        others = ", ".join(sorted(filter(None, table.column("source").unique().to_pylist())))
        raise UserError(
            f"data.shards: the shards hold {others or 'no named source'}, but the benchmark {benchmark.name} "
            f"is of {benchmark.source}; give shards that {_build(benchmark)} made, or another --dataset"
        )
    return rows


def _rows_with(
    table: pa.Table, benchmark: Benchmark, column: str, values: tuple[str, ...], remedy: str
) -> Ints:
    rows = _where(pc.is_in(table.column(column), pa.array(values, pa.string())))
    if not len(rows):
        found = ", ".join(sorted(filter(None, table.column(column).unique().to_pylist()))[:20])
        raise UserError(
            f"data.shards: {benchmark.name} counts the {column}s {', '.join(values)}, but the shards "
            f"hold {found or 'none with a name'}; {remedy} a benchmark of your own"
        )
    return rows


def _where(mask: pa.ChunkedArray) -> Ints:
    return np.flatnonzero(mask.fill_null(False).to_numpy()).astype(np.int64)


def _codes(table: pa.Table, benchmark: Benchmark, key: str) -> NDArray[np.int16]:
    """(n,): codes of one label."""
    found = pc.map_lookup(table.column("labels"), key, "first")
    if found.null_count == len(found):
        raise _no_label(table, benchmark, key)
    codes = found.fill_null(UNCODED).to_numpy()
    odd = np.flatnonzero(~benchmark.target.known(codes))
    if len(odd):
        raise UserError(
            f"data.shards: {_named(table, int(odd[0]))} has {key}={codes[odd[0]]}, which {benchmark.name} "
            "does not know; rebuild the shards, or name it in codes or missing of a benchmark of your own"
        )
    return codes


def _no_label(table: pa.Table, benchmark: Benchmark, key: str) -> UserError:
    keys = sorted({k for chunk in table.column("labels").chunks for k in chunk.keys.unique().to_pylist()})
    target = benchmark.target
    others = [name for name, label in zip(target.outputs, target.labels, strict=False) if label in keys]
    option = target.option(others)
    leave = f", or leave it out with --set {option}" if option else ""
    return UserError(
        f"data.shards: no frame has the label {key!r} (there are {', '.join(keys)}); rebuild the shards with "
        f"{_build(benchmark)}{leave}"
    )


def _subjects(table: pa.Table, benchmark: Benchmark) -> tuple[tuple[str, ...], Ints]:
    """(names, (n,) index of each frame's)."""
    column = table.column(_UNITS[benchmark.unit])
    known = benchmark.subjects or tuple(sorted(filter(None, column.unique().to_pylist())))
    found = pc.index_in(column, pa.array(known, pa.string()))
    if found.null_count:
        named = _named(table, int(np.flatnonzero(found.is_null().to_numpy())[0]))
        if benchmark.subjects:
            lists = "folds" if benchmark.folds else "train or test"
            raise UserError(
                f"data.shards: {named} is of a subject that is in no {'fold' if benchmark.folds else 'part'} "
                f"of {benchmark.name}; leave its shards out, or add the subject to subjects and {lists} in a "
                "benchmark of your own"
            )
        raise UserError(
            f"data.shards: {named} has no {benchmark.unit}, which {benchmark.name} tells frames apart by; "
            'rebuild the shards, or say unit = "picture" in a benchmark of your own'
        )
    return known, found.to_numpy().astype(np.int64)


def _frames(
    table: pa.Table, subject: Ints, benchmark: Benchmark
) -> tuple[NDArray[np.str_], NDArray[np.int32]]:
    """(video, frame), each (n,). Pictures without a number are told apart by their keys."""
    unnumbered = table.column("frame").is_null().to_numpy()
    if benchmark.subjects and unnumbered.any():
        named = _named(table, int(np.argmax(unnumbered)))
        raise UserError(f"data.shards: {named} has no frame number; rebuild with {_build(benchmark)}")
    frame = table.column("frame").fill_null(0).to_numpy().astype(np.int32)
    codes, video = _texts(table.column("video"))
    keys = np.where(unnumbered, _texts(table.column("key"))[0], -1)
    person = _texts(table.column("identity"))[0]  # a video that is the unit may show two
    order = np.lexsort((keys, frame, codes, person, subject))
    told = np.stack([subject, person, codes, frame, keys], axis=1)[order]
    same = (told[1:] == told[:-1]).all(axis=1)
    if same.any():
        row = int(order[1:][np.argmax(same)])
        raise UserError(f"data.shards: {_named(table, row)} is there twice; name each corpus once")
    return video, frame


def _texts(column: pa.ChunkedArray) -> tuple[Ints, NDArray[np.str_]]:
    """((n,) numbers of the texts, (n,) texts); the empty one where there is none."""
    found = column.fill_null("").combine_chunks().dictionary_encode()
    numbers = found.indices.to_numpy().astype(np.int64)
    return numbers, np.array(found.dictionary.to_pylist(), dtype=np.str_)[numbers]


def _named(table: pa.Table, row: int) -> str:
    """A frame, for a message."""
    key, subject, video, frame = (
        table.column(name)[row].as_py() for name in ("key", "identity", "video", "frame")
    )
    if frame is None and video is None:
        return f"the picture {key}"
    return f"frame {frame} of {subject}'s video {video} (sample {key})"
