"""Miniature data sets of drawn people, in the layouts of the real ones, with a truth file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.progress import Progress
from facecorpus.record import State
from facecorpus.sources.base import ORIGIN
from facecorpus.synth.album import Album, Signature, sign
from facecorpus.synth.dynamics import DEPENDENCES
from facecorpus.synth.entry import Box, Entry, Points
from facecorpus.synth.filming import CAMERAS
from facecorpus.synth.identity import Identity
from facecorpus.synth.layouts import MODULES, names, write_source
from facecorpus.synth.own import lay_out, own_layouts
from facecorpus.synth.picture import edited, edited_points, file_bytes, take
from facecorpus.synth.plan import ALL, ANNOTATED_CROWDS, SAMPLE, SIZES, Item, Shot, first_of, plan
from facecorpus.synth.pool import in_order
from facecorpus.synth.recording_layouts import write_recordings
from facecorpus.synth.recordings import MIN_FRAMES, plan_recordings
from facecorpus.synth.records import either, files_of, read_record, refuse_others, write_record
from facecorpus.synth.studies import RECORDED, STUDIES
from facecorpus.synth.truth import TRUTH_NAME, TruthRow, read_truth, write_truth

MAX_ATTEMPTS = 60
"""Times a picture is redrawn before giving up."""


@dataclass(frozen=True, slots=True)
class _Job:
    shot: Shot | None
    items: tuple[Item, ...]
    seed: int
    attempt: int


@dataclass(frozen=True, slots=True)
class _Rendered:
    files: tuple[bytes, ...]
    points: tuple[tuple[float, ...] | None, ...]
    boxes: tuple[tuple[float, float, float, float] | None, ...]
    faces: tuple[tuple[tuple[Points, Box], ...], ...]
    """For each file, landmarks and box of everyone."""
    au: dict[int, float] | None
    signature: Signature


def _render(job: _Job) -> _Rendered:
    if job.shot is None:
        files = tuple(file_bytes(item, None, job.seed + k) for k, item in enumerate(job.items))
        nothing = (None,) * len(files)
        return _Rendered(files, nothing, nothing, ((),) * len(files), None, sign([], None, -1))
    taken = take(job.shot, job.seed, job.attempt)
    files = tuple(file_bytes(item, taken.rgb, job.seed) for item in job.items)
    pictures = [taken.rgb, *(edited(taken.rgb, item.edit, item.size_px) for item in job.items)]
    face = taken.faces[0] if len(taken.faces) == 1 else None
    wanted = any(item.outcome in (State.KEPT, State.DUPLICATE) for item in job.items)
    signature = sign(pictures, face.points_px if face and wanted else None, job.shot.people[0])
    moved = [edited_points(face, item, job.shot.size_px) if face else (None, None) for item in job.items]
    return _Rendered(
        files,
        tuple(points for points, _ in moved),
        tuple(box for _, box in moved),
        tuple(tuple(edited_points(f, item, job.shot.size_px) for f in taken.faces) for item in job.items),
        taken.au,
        signature,
    )


def _jobs(items: Sequence[Item], seed: int) -> list[tuple[list[int], _Job]]:
    by_shot: dict[int, list[int]] = {}
    for k, item in enumerate(items):
        by_shot.setdefault(item.shot.number if item.shot else -1 - k, []).append(k)
    jobs = []
    for _, members in sorted(by_shot.items(), key=lambda pair: pair[1][0]):
        chosen = tuple(items[k] for k in members)
        jobs.append(
            (members, _Job(chosen[0].shot, chosen, seed + (members[0] if chosen[0].shot is None else 0), 0))
        )
    return jobs


def _draw(items: Sequence[Item], seed: int, workers: int) -> list[tuple[bytes, _Rendered, int]]:
    """For every item its bytes, what was rendered, and its place in that."""
    album = Album()
    out: dict[int, tuple[bytes, _Rendered, int]] = {}
    jobs = _jobs(items, seed)
    drawn = in_order(_render, [job for _, job in jobs], workers, chunk=8)
    with Progress("drawing", len(items), "pictures") as progress:
        for (members, job), first in zip(jobs, drawn, strict=True):
            new, attempt = first, 0
            while not album.accepts(new.signature, attempt):
                attempt += 1
                if attempt == MAX_ATTEMPTS:
                    raise RuntimeError(
                        f"picture {job.shot} stays too close to another after {attempt} attempts"
                    )
                new = _render(_Job(job.shot, job.items, job.seed, attempt))
            album.add(new.signature)
            for place, k in enumerate(members):
                out[k] = (new.files[place], new, place)
            progress.update(len(members))
    return [out[k] for k in range(len(items))]


def write_datasets(
    root: Path,
    sources: Sequence[str] = SAMPLE,
    seed: int = 0,
    preset: str = "sample",
    workers: int = 1,
    *,
    dependence: str = "mild",
    frames: int | None = None,
    cameras: Sequence[str] = ("right",),
    subjects: int | None = None,
) -> Path:
    """Draw miniature data sets below `root`, one folder each, and the truth about them.

    Args:
        root: created if missing; of the data sets drawn there earlier, those of these names are replaced.
        sources: which of `drawable()`.
        seed: who is drawn and everything else; equal arguments give equal bytes, for any number of workers.
        preset: "sample" (about 1,500 pictures, and recordings of 6 to 80 frames) or "tiny" (about 60, and
            recordings of 4 to 12 frames).
        workers: processes that draw.
        dependence: "mild" or "strong": how much a recorded person's action units depend on who it is.
        frames: annotated frames of each recording, instead of the preset's.
        cameras: of DISFA: "right", "left" or both.
        subjects: record only the first so many of each data set.

    Returns:
        Path of the truth file, `ROOT/truth.jsonl`.

    Raises:
        UserError: an unknown source or preset or another value out of range, or a folder of that name that
            holds anything but what this function has drawn.
    """
    _check(root, sources, preset)
    _check_recordings(dependence, frames, cameras)
    recordings = [
        recording
        for name in RECORDED
        if name in sources
        for recording in plan_recordings(
            STUDIES[name], seed, dependence, frames or STUDIES[name].frames[preset], subjects
        )
    ]
    pictured = [name for name in (*ALL, *own_layouts()) if name in sources]
    with tempfile.TemporaryDirectory(prefix=".synth-part-", dir=root) as folder:
        part = Path(folder)
        rows = _write_pictures(part, pictured, seed, preset, workers) if pictured else []
        if recordings:
            rows += write_recordings(part, recordings, seed, workers, cameras)
        return _put_in_place(part, root, rows)


def _put_in_place(part: Path, root: Path, rows: Sequence[TruthRow]) -> Path:
    """Replace data sets by those below `part`; the record holds at every moment. Returns the truth file."""
    sources = sorted({row.source for row in rows})
    for source in sources:
        storage.publish_json(str(part / source / ORIGIN), {"synthetic": True, "by": "facecorpus synth"})
    before, fresh = read_record(root), {source: files_of(part / source) for source in sources}
    write_record(root, before | {s: either(before.get(s, {}), fresh[s]) for s in sources})
    for source in sources:
        if (root / source).exists():
            shutil.rmtree(root / source)  # `_check` has seen that it holds nothing else
        (part / source).rename(root / source)
    others = read_truth(root) if (root / TRUTH_NAME).exists() else []
    truth = write_truth(root, [*(row for row in others if row.source not in sources), *rows])
    write_record(root, before | fresh)
    return truth


def _write_pictures(
    part: Path, sources: Sequence[str], seed: int, preset: str, workers: int
) -> list[TruthRow]:
    items = plan(sources, seed, preset)
    drawn = _draw(items, seed, workers)
    rows: list[TruthRow] = []
    for source in sources:
        chosen = [k for k, item in enumerate(items) if item.source == source]
        theirs, pictures = [items[k] for k in chosen], [drawn[k] for k in chosen]
        (part / source).mkdir(parents=True)
        if source in ALL:
            entries = _entries(source, theirs, pictures, names(source, theirs, seed), seed, preset)
            write_source(source, part / source, entries)
        else:
            entries = _entries(source, theirs, pictures, [("", None)] * len(theirs), seed, preset)
            entries = lay_out(source, part / source, entries, [new.au for _, new, _ in pictures])
        for entry, k in zip(entries, chosen, strict=True):
            rows += _truth(entry, drawn[k][1])
    return rows


def drawable() -> tuple[str, ...]:
    """The data sets that can be drawn."""
    return (*ALL, *own_layouts(), *RECORDED)


def _check(root: Path, sources: Sequence[str], preset: str) -> None:
    known = drawable()
    unknown = sorted(set(sources) - set(known))
    if unknown or not sources:
        raise UserError(
            f"sources {', '.join(unknown) or '(none)'} cannot be drawn; choose from {', '.join(known)}."
        )
    if preset not in SIZES:
        raise UserError(f"preset {preset!r} does not exist; choose from {', '.join(SIZES)}.")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UserError(f"--out {root} is a file; give the name of a folder") from error
    record = read_record(root)
    refuse_others(root, sources, record)
    left = [name for name in ALL if name in record and name not in sources]
    if left and set(sources) & set(ALL):
        raise UserError(
            f"{root} holds {', '.join(left)}, drawn before, and duplicates are planted across all picture "
            "sets; name these too, or give another --out"
        )


def _check_recordings(dependence: str, frames: int | None, cameras: Sequence[str]) -> None:
    if dependence not in DEPENDENCES:
        raise UserError(f"dependence {dependence!r} does not exist; choose from {', '.join(DEPENDENCES)}.")
    if frames is not None and frames < MIN_FRAMES:
        raise UserError(f"frames is {frames}; recordings have at least {MIN_FRAMES} frames.")
    if not cameras or set(cameras) - set(CAMERAS):
        raise UserError(f"cameras is {', '.join(cameras) or 'empty'}; choose from {', '.join(CAMERAS)}.")


def _entries(
    source: str,
    items: Sequence[Item],
    drawn: Sequence[tuple[bytes, _Rendered, int]],
    named: Sequence[tuple[str, str | None]],
    seed: int,
    preset: str,
) -> list[Entry]:
    first_person = first_of(source, preset)
    out = []
    for item, (member, identity), (data, new, place) in zip(items, named, drawn, strict=True):
        who = Identity.sample(seed, first_person + item.person)
        several = item.shot is not None and item.shot.kind == "group" and source in MODULES
        people = [k - first_person for k in item.shot.people] if several and item.shot else []
        labels = tuple(MODULES[source].label(source, k, item.person) for k in people) or (identity,)
        given = (new.points[place], new.boxes[place], new.faces[place])
        out.append(Entry(item, member, identity, who, data, *given, labels))
    return out


def _truth(entry: Entry, new: _Rendered) -> list[TruthRow]:
    """The row of an input; of a photograph in which several people are annotated, one for each of them."""
    item = entry.item
    readable = item.damage is None and new.au is not None
    row = TruthRow(
        id=f"{item.source}/{entry.member}",
        source=item.source,
        outcome=str(item.outcome),
        reason=str(item.reason) if item.reason else None,
        duplicate_group=item.group,
        identity=entry.identity,
        au={str(unit): level for unit, level in sorted((new.au or {}).items())} if readable else None,
    )
    if item.source not in ANNOTATED_CROWDS or len(entry.faces) < 2:
        return [row]
    return [
        replace(row, id=f"{row.id}#f{number}", identity=label) for number, label in enumerate(entry.labels, 1)
    ]
