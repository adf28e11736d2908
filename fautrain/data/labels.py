"""From the manifests of a labelled corpus to arrays: one row per frame that a benchmark counts."""

from __future__ import annotations

import posixpath
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

_COLUMNS = ["key", "source", "identity", "video", "frame", "labels"]
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
    """(n,): index into `benchmark.subjects`."""
    video: NDArray[np.str_]
    """(n,): camera or task."""
    frame: NDArray[np.int32]
    """(n,): number within the video, as annotated."""
    targets: NDArray[np.float32]
    """(n, A): as `target` decodes them, nan not coded. No row is all nan: such a frame is left out."""
    absent: tuple[str, ...]
    """Subjects of the benchmark without a frame here."""

    def __len__(self) -> int:
        return len(self.rows)

    def told(self, place: Ints) -> dict[str, NDArray[Any]]:
        """What predictions tell of frames by `place` (n,) in this set: key, subject, video, frame, target."""
        return {
            "key": np.array([self.corpus.key(row) for row in self.rows[place].tolist()]),
            "subject": np.array(self.benchmark.subjects)[self.subject[place]],
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
    if benchmark.videos:
        kept = _rows_of_videos(table, benchmark)
        rows, table = rows[kept], table.take(kept)
    targets = target.decode(np.stack([_codes(table, benchmark, key) for key in target.labels], axis=1))
    coded = np.flatnonzero(~np.isnan(targets).all(axis=1))
    rows, table, targets = rows[coded], table.take(coded), targets[coded]
    subject = _subjects(table, benchmark)
    video, frame = _frames(table, subject, benchmark)
    seen = {*np.unique(subject).tolist()}
    absent = tuple(name for index, name in enumerate(benchmark.subjects) if index not in seen)
    return LabelledSet(benchmark, corpus, target, rows, subject, video, frame, targets, absent)


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


def _rows_of_videos(table: pa.Table, benchmark: Benchmark) -> Ints:
    rows = _where(pc.is_in(table.column("video"), pa.array(benchmark.videos, pa.string())))
    if not len(rows):
        found = ", ".join(sorted(filter(None, table.column("video").unique().to_pylist())))
        raise UserError(
            f"data.shards: {benchmark.name} counts the videos {', '.join(benchmark.videos)}, but the shards "
            f"hold {found or 'none with a name'}; build those, or change videos in a benchmark of your own"
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


def _subjects(table: pa.Table, benchmark: Benchmark) -> Ints:
    found = pc.index_in(table.column("identity"), pa.array(benchmark.subjects, pa.string()))
    if found.null_count:
        row = int(np.flatnonzero(found.is_null().to_numpy())[0])
        raise UserError(
            f"data.shards: {_named(table, row)} is of a subject that is in no fold of {benchmark.name}; "
            "leave its shards out, or add the subject to subjects and folds in a benchmark of your own"
        )
    return found.to_numpy().astype(np.int64)


def _frames(
    table: pa.Table, subject: Ints, benchmark: Benchmark
) -> tuple[NDArray[np.str_], NDArray[np.int32]]:
    """(video, frame), each (n,)."""
    if table.column("frame").null_count:
        row = int(np.flatnonzero(table.column("frame").is_null().to_numpy())[0])
        raise UserError(
            f"data.shards: {_named(table, row)} has no frame number; rebuild with {_build(benchmark)}"
        )
    frame = table.column("frame").to_numpy().astype(np.int32)
    videos = table.column("video").fill_null("").combine_chunks().dictionary_encode()
    codes = videos.indices.to_numpy()
    order = np.lexsort((frame, codes, subject))
    one, other = order[:-1], order[1:]
    same = (subject[one] == subject[other]) & (codes[one] == codes[other]) & (frame[one] == frame[other])
    if same.any():
        row = int(other[np.argmax(same)])
        raise UserError(f"data.shards: {_named(table, row)} is there twice; name each corpus once")
    return np.array(videos.dictionary.to_pylist(), dtype=np.str_)[codes], frame


def _named(table: pa.Table, row: int) -> str:
    """A frame, for a message."""
    key, _, subject, video, frame = (table.column(name)[row].as_py() for name in _COLUMNS[:-1])
    return f"frame {frame} of {subject}'s video {video} (sample {key})"
