"""Reading labels from tiny shards, one a subject: what each frame's targets are, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facecorpus import schema
from facecorpus.errors import UserError
from facecorpus.shards import ShardWriter, sample_key
from fautrain.data import Corpus, open_corpus, shard_cache
from fautrain.data.benchmark import Benchmark, benchmark
from fautrain.data.labels import LabelledSet, read_labels
from fautrain.targets.occurrence import Occurrence

OCCURRENCE = Occurrence(aus=(12, 1), label="AU{au}", positive=">= 2", missing=(9,), codes=(0, 1, 2, 3, 4, 5))
TOY = Benchmark(
    name="toy",
    title="Toy",
    source="disfa",
    kind="occurrence",
    target=OCCURRENCE,
    videos=("right",),
    subjects=("SN003", "SN001", "SN002"),
    folds=(("SN001",), ("SN002", "SN003")),
)


def rows_of(subject: str, labels: Iterable[Mapping[str, int] | None], **fields: Any) -> list[dict[str, Any]]:
    """Manifest rows of one subject's video, its frames counted from 1."""
    return [
        {
            "id": f"{subject}/{fields.get('video', 'right')}/{number}",
            "source": "disfa",
            "identity": subject,
            "video": "right",
            "frame": number,
            "labels": None if coded is None else list(coded.items()),
            **fields,
        }
        for number, coded in enumerate(labels, 1)
    ]


def corpus_of(out: Path, *shards: list[dict[str, Any]], columns: Iterable[str] | None = None) -> Corpus:
    """Shards with these rows, and their manifests as `facecorpus` writes them (or with `columns` only)."""
    (out / "shards").mkdir(parents=True)
    for number, rows in enumerate(shards):
        path = out / "shards" / schema.shard_name("toy", number)
        with path.open("wb") as file:
            writer = ShardWriter(file)
            for row in rows:
                row["key"] = sample_key(row["id"])
                placed = writer.add(row["key"], {"jpg": b"picture"})
                row |= {"sample_offset": placed.sample_offset, "jpg_bytes": len(b"picture")}
                row["jpg_offset"] = placed.payload_offsets["jpg"]
            writer.finish()
        table = pa.Table.from_pylist(rows, schema.MANIFEST)
        pq.write_table(table.select(columns) if columns else table, path.with_suffix(".parquet"))
    return open_corpus(str(out), shard_cache(str(out / "cache")))


def two_subjects() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """SN001: three frames, the last with AU1 not coded; SN003: one with no code at all, then two."""
    return (
        rows_of("SN001", [{"AU1": 0, "AU12": 5}, {"AU1": 2, "AU12": 1}, {"AU12": 0, "AU4": 3}]),
        rows_of("SN003", [{"AU1": 9, "AU12": 9}, {"AU1": 9, "AU12": 2}, {"AU1": 1, "AU12": 3}]),
    )


def test_frames_and_targets(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, *two_subjects())
    found = read_labels(corpus, TOY)
    assert found.outputs == ("AU12", "AU1") and found.absent == ("SN002",)
    assert found.rows.tolist() == [0, 1, 2, 4, 5] and found.rows.dtype == np.int64
    assert [TOY.subjects[i] for i in found.subject] == ["SN001"] * 3 + ["SN003"] * 2
    assert found.frame.tolist() == [1, 2, 3, 2, 3] and found.frame.dtype == np.int32
    assert found.video.tolist() == ["right"] * 5
    nan = np.nan
    np.testing.assert_array_equal(found.targets, [[1, 0], [0, 1], [0, nan], [1, nan], [1, 0]])
    assert found.targets.dtype == np.float32 and len(found) == 5
    assert found.benchmark is TOY and found.corpus is corpus


def test_rows_are_the_samples_of_the_corpus(tmp_path: Path) -> None:
    shards = two_subjects()
    corpus = corpus_of(tmp_path, *shards)
    found = read_labels(corpus, TOY)
    ids = [row["id"] for shard in shards for row in shard]
    assert [corpus.key(int(row)) for row in found.rows] == [sample_key(ids[row]) for row in found.rows]


def test_only_the_aus_asked_for_in_the_benchmarks_order(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, *two_subjects())
    assert read_labels(corpus, TOY, ("AU1", "AU12")).outputs == ("AU12", "AU1")
    one = read_labels(corpus, TOY, ("AU1",))
    assert one.outputs == ("AU1",) and one.rows.tolist() == [0, 1, 5]
    np.testing.assert_array_equal(one.targets, [[0], [1], [0]])


def test_only_the_camera_and_the_data_set_of_the_benchmark(tmp_path: Path) -> None:
    coded = [{"AU1": 0, "AU12": 3}]
    corpus = corpus_of(
        tmp_path,
        rows_of("SN001", coded, video="left"),
        rows_of("F001", [None], source="celeba"),
        rows_of("SN001", coded),
    )
    assert read_labels(corpus, TOY).rows.tolist() == [2]
    both = read_labels(corpus, replace(TOY, videos=()))
    assert both.rows.tolist() == [0, 2] and both.video.tolist() == ["left", "right"]


def test_the_label_may_be_another_coding(tmp_path: Path) -> None:
    intensity = replace(TOY, target=replace(OCCURRENCE, label="AU{au}_intensity", positive=">= 1"))
    corpus = corpus_of(tmp_path, rows_of("SN001", [{"AU1_intensity": 1, "AU12_intensity": 0, "AU1": 0}]))
    assert read_labels(corpus, intensity).targets.tolist() == [[0, 1]]


def error_of(corpus: Corpus, known: Benchmark = TOY, outputs: tuple[str, ...] = ()) -> str:
    with pytest.raises(UserError) as caught:
        read_labels(corpus, known, outputs)
    message = str(caught.value)
    assert "\n" not in message and ";" in message, "one sentence with the remedy"
    return message


def test_an_au_that_the_benchmark_has_not_is_refused(tmp_path: Path) -> None:
    message = error_of(corpus_of(tmp_path, *two_subjects()), outputs=("AU12", "AU7"))
    assert message == "data.aus: toy has no AU7; choose among 12, 1"


PICTURES = replace(
    TOY, subjects=(), folds=(), videos=(), split="official", by="split", unit="picture", train=("train",),
    test=("val",),
)  # fmt: skip


def pictures(*splits: str | None, name: str = "p") -> list[dict[str, Any]]:
    """Manifest rows of pictures without subject, video or number, of these parts."""
    nobody: dict[str, Any] = {"identity": None, "video": None, "frame": None}
    return [
        rows_of(name, [{"AU1": number % 2, "AU12": 3}], **nobody, id=f"{name}/{number}", split=split)[0]
        for number, split in enumerate(splits)
    ]


def test_pictures_without_a_subject_are_a_subject_each(tmp_path: Path) -> None:
    """RAF-DB's and AffectNet's: no subject, video or frame number; the column `split` says the part."""
    corpus = corpus_of(tmp_path, pictures("train", "val", None, "train"), pictures("val", "test", name="q"))
    found = read_labels(corpus, PICTURES)
    assert found.rows.tolist() == [0, 1, 3, 4], "those of another part, or of none, are not counted"
    keys = [corpus.key(row) for row in found.rows.tolist()]
    assert [found.subjects[i] for i in found.subject] == keys and found.subjects == tuple(sorted(keys))
    assert found.within(("train",)).tolist() == [True, False, True, False] and found.absent == ()
    assert found.frame.tolist() == [0] * 4 and found.video.tolist() == [""] * 4


def test_where_nobody_is_known_the_video_may_stand_for_the_subject(tmp_path: Path) -> None:
    """Aff-Wild2's: videos with frame numbers, whose people have no names."""
    shards = [
        [row | {"split": split} for row in rows_of("?", [{"AU1": 0}] * 2, identity=None, video=name)]
        for name, split in (("one", "train"), ("two", "val"))
    ]
    corpus = corpus_of(tmp_path, *shards)
    found = read_labels(corpus, replace(PICTURES, unit="video", target=replace(OCCURRENCE, aus=(1,))))
    assert found.subjects == ("one", "two") and found.subject.tolist() == [0, 0, 1, 1]
    assert found.names(np.array([2, 3])) == ("two",)


def test_two_people_of_a_video_that_is_the_unit_are_two_frames(tmp_path: Path) -> None:
    """Aff-Wild2's VIDEO_left and VIDEO_right: one unit, two frames 1; a person's own twice is refused."""
    left, right = (
        [row | {"split": "val"} for row in rows_of(name, [{"AU1": 0}] * 2, video="talk")]
        for name in ("talk_left", "talk_right")
    )
    protocol = replace(PICTURES, unit="video", target=replace(OCCURRENCE, aus=(1,)))
    found = read_labels(corpus_of(tmp_path / "both", left, right), protocol)
    assert found.subjects == ("talk",) and found.frame.tolist() == [1, 2, 1, 2]
    again = [row | {"id": f"{row['id']}/again"} for row in left]
    assert "frame 1 of talk_left's video talk" in error_of(corpus_of(tmp_path / "x", left, again), protocol)


def test_pictures_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, pictures("train", "val"))
    assert "has no subject, which toy tells frames apart by" in error_of(
        corpus, replace(PICTURES, unit="subject")
    )
    elsewhere = replace(PICTURES, test=("official",), train=("public",))
    assert "counts the splits public, official, but the shards hold train, val" in error_of(corpus, elsewhere)
    double = corpus_of(tmp_path / "double", pictures("train", "val"), pictures("train"))
    assert "the picture " in (said := error_of(double, PICTURES)) and "is there twice" in said


def altered(change: Callable[[list[dict[str, Any]]], object]) -> list[list[dict[str, Any]]]:
    shards = [*two_subjects()]
    for rows in shards:
        change(rows)
    return shards


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda rows: [r.update(source="bp4d") for r in rows],
            ("hold bp4d", "is of disfa", "--sources disfa"),
        ),
        (lambda rows: [r.update(source=None) for r in rows], ("hold no named source",)),
        (lambda rows: [r.update(labels=None) for r in rows], ("toy-000000.tar has no labels",)),
        (lambda rows: [r.update(video="left") for r in rows], ("counts the videos right", "hold left")),
        (lambda rows: [r.update(video=None) for r in rows], ("hold none with a name",)),
        (
            lambda rows: [r.update(labels=[("AU1", 1), ("AU4", 2)]) for r in rows],
            ("no frame has the label 'AU12' (there are AU1, AU4)", "--set data.aus=1"),
        ),
        (
            lambda rows: [r.update(labels=[("AU1", 1), ("AU12", 7)]) for r in rows],
            ("frame 1 of SN001's video right", "has AU12=7"),
        ),
        (lambda rows: [r.update(identity="SN4") for r in rows], ("of SN4's video", "in no fold of toy")),
        (lambda rows: [r.update(identity=None) for r in rows], ("in no fold of toy",)),
        (lambda rows: [r.update(frame=None) for r in rows], ("has no frame number",)),
        (lambda rows: [r.update(frame=2) for r in rows], ("frame 2 of SN", "is there twice")),
    ],
)
def test_unsuitable_shards_are_refused(
    tmp_path: Path, change: Callable[[list[dict[str, Any]]], object], words: tuple[str, ...]
) -> None:
    message = error_of(corpus_of(tmp_path, *altered(change)))
    assert message.startswith("data.shards: ") and all(word in message for word in words), message


def test_shards_of_before_labels_are_refused(tmp_path: Path) -> None:
    corpus = corpus_of(
        tmp_path, *two_subjects(), columns=["key", "jpg_offset", "jpg_bytes", "source", "identity"]
    )
    assert "toy-000000.tar has no labels" in error_of(corpus)


def test_foreign_shards_are_refused(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, *two_subjects())
    (tmp_path / "shards" / "toy-000001.parquet").unlink()
    assert "toy-000001.tar has no labels" in error_of(corpus)


def test_a_manifest_of_another_shard_is_refused(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, *two_subjects())
    shards = tmp_path / "shards"
    (shards / "toy-000001.parquet").write_bytes((shards / "toy-000000.parquet").read_bytes())
    assert "toy-000001.parquet does not list the samples" in error_of(corpus)


def test_the_benchmarks_read_what_their_labels_are_called(tmp_path: Path) -> None:
    found: list[LabelledSet] = []
    for name, subject, video, code in (("disfa", "SN001", "right", 2), ("bp4d", "F001", "T1", 1)):
        known = benchmark(name)
        labels = [dict.fromkeys(known.outputs, code)]
        corpus = corpus_of(tmp_path / name, rows_of(subject, labels, video=video, source=name))
        found.append(read_labels(corpus, known))
    assert all(f.targets.tolist() == [[1.0] * len(f.outputs)] for f in found)
    assert len(found[0].absent) == 26 and len(found[1].absent) == 40
