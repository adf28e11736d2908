"""Predictions of one evaluated epoch on disk: `RUN/predictions/epoch-0003.parquet`.

One row per frame: part, key, subject, video, frame, prediction and target (lists of float32 in the order of
the outputs; NaN = not coded). The file's metadata says which data set, outputs, fold and epoch they are. Rows
are in the order of (part, subject, video, frame, key), so that equal predictions give equal bytes.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from facecorpus.errors import UserError
from facecorpus.typed import build, to_plain
from fautrain.files import publish
from fautrain.targets import TARGETS

FOLDER = "predictions"
VALIDATION, TEST = "validation", "test"
VERSION = 2
_METADATA = b"fautrain"
_NAME = re.compile(r"epoch-(\d{4,})\.parquet")
_LISTS = pa.list_(pa.float32())
_SCHEMA = pa.schema(
    [
        pa.field("part", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("video", pa.string(), nullable=False),
        pa.field("frame", pa.int32(), nullable=False),
        pa.field("prediction", _LISTS, nullable=False),
        pa.field("target", _LISTS, nullable=False),
    ]
)


@dataclass(frozen=True)
class Header:
    """What the predictions of a file are predictions of."""

    dataset: str
    """Name of the benchmark that is tested on."""
    kind: str
    """What is predicted (`fautrain.targets`)."""
    outputs: tuple[str, ...]
    """Names of the outputs in the order of the lists."""
    epoch: int
    """Epochs of training done, from 1."""
    epochs: int = 0
    """Epochs of training planned; 0 where it is not known."""
    fold: int | None = None
    """Fold whose subjects are tested, from 1; none where the data set is tested as a whole."""
    folds: int = 0
    """Folds of the benchmark; 0 where it is tested as a whole."""
    seed: int = 0
    """Seed of the run."""
    trained_on: str = ""
    """Name of the benchmark that was trained on, where it is another one."""
    drawn: bool = False
    """Whether the faces are drawn ones, so that no number can be held against a paper's."""
    absent: tuple[str, ...] = ()
    """Subjects of the benchmark of whom the shards hold no frame: neither trained on nor tested."""


@dataclass(frozen=True)
class Predictions:
    """The n frames of one evaluated epoch, in any order."""

    header: Header
    part: NDArray[np.str_]
    """(n,) "validation" (subjects kept out of training) or "test"."""
    key: NDArray[np.str_]
    """(n,) key of the sample."""
    subject: NDArray[np.str_]
    """(n,)"""
    video: NDArray[np.str_]
    """(n,)"""
    frame: NDArray[np.int32]
    """(n,) number as annotated."""
    prediction: NDArray[np.float32]
    """(n, A): such as probabilities."""
    target: NDArray[np.float32]
    """(n, A), NaN where not coded."""

    def of(self, part: str) -> Predictions:
        """The rows of one part."""
        rows = self.part == part
        arrays = {f.name: getattr(self, f.name)[rows] for f in dataclasses.fields(self) if f.name != "header"}
        return Predictions(self.header, **arrays)


def prediction_path(run_dir: Path, epoch: int) -> Path:
    """Where the predictions of an epoch lie in the run's folder."""
    return run_dir / FOLDER / f"epoch-{epoch:04d}.parquet"


def prediction_files(run_dir: Path) -> dict[int, Path]:
    """The files of the evaluated epochs of a run, in order of the epoch.

    Raises:
        UserError: there are none.
    """
    folder = run_dir / FOLDER
    matches = [(_NAME.fullmatch(path.name), path) for path in folder.glob("epoch-*.parquet")]
    found = {int(match[1]): path for match, path in matches if match}
    if not found:
        raise UserError(f"{folder} holds no epoch-NNNN.parquet; evaluate an epoch first (fautrain finetune)")
    return dict(sorted(found.items()))


def forget_predictions(run_dir: Path) -> None:
    """Removes the predictions of all epochs of a run, and the folder where that leaves it empty.

    Raises:
        UserError: a file with such a name is none of ours, so that it would be replaced later.
    """
    folder = run_dir / FOLDER
    found = [path for path in folder.glob("epoch-*.parquet") if _NAME.fullmatch(path.name)]
    for path in found:
        try:
            ours = _METADATA in (pq.read_schema(path).metadata or {})
        except (pa.ArrowException, OSError):
            ours = False
        if not ours:
            raise UserError(
                f"{path} is in the way: it is damaged, or not of fautrain; move it elsewhere and run the "
                "same command again"
            )
    for path in found:
        path.unlink()
    if found and not any(folder.iterdir()):
        folder.rmdir()


def write_predictions(run_dir: Path, predictions: Predictions) -> Path:
    """Writes the predictions of an epoch into the run's folder, replacing earlier ones; returns the file.

    Raises:
        UserError: a prediction is not finite (the training diverged), or the file cannot be written.
        ValueError: shapes, parts, predictions or targets are not what `Predictions` says, or a key comes
            twice.
    """
    _check(predictions)
    p = predictions
    order = np.lexsort((p.key, p.frame, p.video, p.subject, p.part))
    columns = [pa.array(values[order]) for values in (p.part, p.key, p.subject, p.video, p.frame)]
    columns += [_lists(values[order]) for values in (p.prediction, p.target)]
    metadata = json.dumps({"version": VERSION, **to_plain(p.header)})
    table = pa.Table.from_arrays(columns, schema=_SCHEMA.with_metadata({_METADATA: metadata}))
    path = prediction_path(run_dir, p.header.epoch)
    publish(path, lambda aside: pq.write_table(table, aside))
    return path


_NO_JSON = (TypeError, AttributeError, RecursionError)
"""What metadata that is JSON, but not of predictions, raises besides."""


def read_predictions(path: Path) -> Predictions:
    """The predictions in a file, in the order of the file.

    Raises:
        UserError: the file is missing, damaged, of another version, or not of the epoch of its name.
    """
    if not path.is_file():
        raise UserError(f"there is no {path}; evaluate that epoch first")
    try:
        table = pq.read_table(path)
        table.validate(full=True)  # texts that are none, offsets that point anywhere
        metadata = json.loads((table.schema.metadata or {})[_METADATA])
        version = metadata.pop("version")
    except (pa.ArrowException, ArithmeticError, MemoryError, OSError, LookupError, ValueError, *_NO_JSON):
        raise _damaged(path, "it is no Parquet file of predictions") from None
    if version != VERSION:
        raise UserError(
            f"{path} is of version {version}, this program reads {VERSION}; evaluate the epoch again"
        )
    try:
        header = build(Header, metadata)
        TARGETS.get(header.kind)
    except UserError as error:
        raise _damaged(path, str(error)[:300]) from None
    named = _NAME.fullmatch(path.name)
    if named and int(named[1]) != header.epoch:
        raise _damaged(path, f"it holds epoch {header.epoch}")
    if not table.schema.equals(_SCHEMA) or any(table[name].null_count for name in _SCHEMA.names):
        raise _damaged(path, "its columns are not those of predictions")
    found = Predictions(
        header,
        *(np.asarray(table[name].to_pylist(), np.str_) for name in ("part", "key", "subject", "video")),
        frame=table["frame"].to_numpy(),
        prediction=_matrix(path, table["prediction"], len(header.outputs)),
        target=_matrix(path, table["target"], len(header.outputs)),
    )
    try:
        _check(found)
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    return found


def _check(predictions: Predictions) -> None:
    p = predictions
    rows, outputs = len(p.part), len(p.header.outputs)
    if p.header.fold is not None and not 1 <= p.header.fold <= p.header.folds:
        raise ValueError(f"there is no fold {p.header.fold} of {p.header.folds}")
    if any(len(values) != rows for values in (p.key, p.subject, p.video, p.frame)):
        raise ValueError("the columns differ in length")
    if p.prediction.shape != (rows, outputs) or p.target.shape != (rows, outputs):
        raise ValueError(
            f"{rows} frames of {outputs} outputs have predictions {p.prediction.shape} and targets "
            f"{p.target.shape}"
        )
    if not np.isin(p.part, (VALIDATION, TEST)).all():
        raise ValueError(f"a part is neither {VALIDATION!r} nor {TEST!r}")
    if not np.isfinite(p.prediction).all():
        raise UserError(
            f"the predictions of epoch {p.header.epoch} are not finite: the training has diverged; "
            "lower optim.lr"
        )
    TARGETS.get(p.header.kind).check(p.prediction, p.target)
    if len(np.unique(p.key)) != rows:
        raise ValueError("a key comes twice")


def _lists(values: NDArray[np.float32]) -> pa.ListArray:
    rows, width = values.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * np.int32(width))
    return pa.ListArray.from_arrays(offsets, pa.array(values.astype(np.float32, copy=False).reshape(-1)))


def _matrix(path: Path, column: pa.ChunkedArray, width: int) -> NDArray[np.float32]:
    rows = column.combine_chunks()
    widths = set(np.unique(rows.value_lengths()).tolist())
    if widths - {width}:
        raise _damaged(path, f"a row has {min(widths - {width})} values for {width} outputs")
    flat = rows.flatten()
    if flat.null_count:
        raise _damaged(path, "a value is missing")
    return flat.to_numpy().reshape(len(column), width)


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path} is damaged ({why}); delete it and evaluate the epoch again")
