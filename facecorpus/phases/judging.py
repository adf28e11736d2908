"""What is made of an input: decoded, judged by the recipe's filters, its faces found, cut and encoded.

Every step answers with a record that has all it found, made in one place: by the header, by the picture, by
the face, by the crop.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from facecorpus import filters
from facecorpus.dedup import hashes
from facecorpus.errors import UserError
from facecorpus.faces import align, detector, pyramid
from facecorpus.faces.detector import IMPLAUSIBLE_FACE, Detector
from facecorpus.faces.face import Face, plausible
from facecorpus.faces.framing import Framing, frame
from facecorpus.faces.given import confirm_given, is_where
from facecorpus.faces.pose import interocular_px, pose_degrees
from facecorpus.faces.warp import Matrix, glimpse, matrix_for_scale, warp
from facecorpus.images import Header, ImageError, Picture, Pixels, decode, encode_jpeg, read_header
from facecorpus.images.measures import measure_crop
from facecorpus.phases.corpus import Corpus
from facecorpus.phases.forgotten import FORGOTTEN
from facecorpus.phases.scored import ERROR, LEFT_OUT, UNREADABLE
from facecorpus.reasons import REASONS, Reason
from facecorpus.record import Record, is_one_of_several
from facecorpus.sources.base import InputError, Reader

_HASHED_PX = 128
"""Side of the crop that is made for the perceptual hash alone, which looks at no more."""
GROUP = 32
"""Pictures that go to the detector together, at most."""
GROUP_BYTES = 64 << 20
"""Decoded bytes that wait for the detector at most, besides the last picture; bounds a worker's memory."""

Scored = tuple[Record, bytes | None]
"""A row, and its encoded crop when it is a candidate."""


@functools.lru_cache(maxsize=2)
def _detector(name: str, weights: str | None, device: str) -> Detector:
    made = detector.make_detector(name, weights=weights, device=device)
    made.detect_batch([np.zeros((64, 64, 3), np.uint8)])  # what is loaded when first used is loaded now
    return made


def _detector_of(corpus: Corpus) -> Detector:
    return _detector(corpus.model(), corpus.weights, corpus.device)


@dataclass(slots=True)
class _Looked:
    """An input so far: either it has ended, or its picture waits for the detector."""

    record: Record
    data: bytes = b""
    picture: Picture | None = None


def make_ready(corpus: Corpus) -> None:
    """Load the detector: a fault in that is no input's."""
    if corpus.detector != "none":
        _detector_of(corpus)


def judge(corpus: Corpus, reader: Reader, records: Iterable[Record]) -> Iterator[Scored]:
    """The rows made from inputs, in their order, each with its encoded crop when it is a candidate.

    An input that a filter rejects, or that cannot be read, makes one row without a crop. Pictures go to the
    detector in groups, bounded in number and pixels, because a GPU is idle otherwise; what is found does not
    depend on the group.
    """
    make_ready(corpus)
    waiting: list[_Looked] = []
    pixels = 0
    for record in records:
        looked = _look(corpus, reader, record)
        waiting.append(looked)
        pixels += looked.picture.rgb.size if looked.picture is not None else 0
        if len(waiting) >= GROUP or pixels >= GROUP_BYTES:
            yield from _judge_group(corpus, waiting)
            waiting, pixels = [], 0
    yield from _judge_group(corpus, waiting)


def ended(record: Record, reason: Reason, detail: str) -> Record:
    """The record with what became of it."""
    return replace(record, state=reason.state, reason=reason.name, detail=detail)


def _mistaken(record: Record, error: Exception) -> Record:
    """An input that trips over a mistake of ours: it must not stop nine million others."""
    return ended(record, ERROR, f"{type(error).__name__}: {error}")


def _rejected(
    corpus: Corpus, stage: filters.Stage, record: Record, *others: Sequence[tuple[float, float]]
) -> Record | None:
    """The record as a filter of the stage ends it, or None where all keep it."""
    verdict = filters.judge(stage, record, corpus.recipe.limits, *others)
    return None if verdict is None else ended(record, *verdict)


def _look(corpus: Corpus, reader: Reader, record: Record) -> _Looked:
    """Read, judge by the header, decode and hash."""
    if record.left_out == FORGOTTEN.name:
        return _Looked(ended(record, FORGOTTEN, ""))
    if record.left_out is not None:
        return _Looked(ended(record, LEFT_OUT, record.left_out))
    if (rejected := _rejected(corpus, "listed", record)) is not None:
        return _Looked(rejected)
    try:
        data = reader.read(record)
    except InputError as error:
        return _Looked(ended(record, error.reason, str(error)))
    except (OSError, UserError) as error:
        # The ledger keeps the input and the run goes on: one bad sector must not cost a night.
        return _Looked(ended(record, UNREADABLE, str(error)))
    except Exception as error:
        return _Looked(_mistaken(record, error))
    record = replace(record, sha256=hashlib.sha256(data).hexdigest())
    try:
        header = read_header(data, record.member)
        record = replace(
            record,
            image_format=header.format,
            orientation=header.orientation,
            width_px=header.width_px,
            height_px=header.height_px,
        )
        if (rejected := _rejected(corpus, "header", record)) is not None:
            return _Looked(rejected)
        picture = _decoded(corpus, data, header, _first_look_px(corpus, header))
        pixels, (whole, quality) = hashes.pixel_hash(picture.rgb), hashes.perceptual_hash(picture.rgb)
        record = replace(record, pixel_hash=pixels, image_hash=whole, image_hash_quality=quality)
    except ImageError as error:
        return _Looked(ended(record, error.reason, str(error)))
    except Exception as error:
        return _Looked(_mistaken(record, error))
    return _Looked(record, data, picture)


def _decoded(corpus: Corpus, data: bytes, header: Header, min_side_px: int) -> Picture:
    return decode(data, header, min_side_px=min_side_px, max_pixels=corpus.recipe.limits.max_pixels)


def _first_look_px(corpus: Corpus, header: Header) -> int:
    """Shorter side to decode at least for detection: the longer one then fills the largest pyramid level."""
    if corpus.detector == "none":
        return corpus.recipe.size_px
    return max(_shorter_px(header, max(corpus.recipe.pyramid_px)), 1)


def _shorter_px(header: Header, longer_px: int) -> int:
    """Shorter side of the picture when the longer one is so long."""
    short, long = sorted((header.width_px, header.height_px))
    return -(-longer_px * short // long)


def _judge_group(corpus: Corpus, group: Sequence[_Looked]) -> Iterator[Scored]:
    """Detect in all pictures of the group, then cut and encode what the filters leave."""
    found = iter(_find_guarded(corpus, [looked.picture for looked in group if looked.picture is not None]))
    for looked in group:
        if looked.picture is None:
            yield looked.record, None
            continue
        faces = next(found)
        try:
            if isinstance(faces, Exception):
                raise faces
            finished = _finish(corpus, looked, looked.picture, faces)
        except UserError:
            raise
        except Exception as error:
            finished = [(_mistaken(looked.record, error), None)]
        yield from finished


def _find_guarded(corpus: Corpus, pictures: Sequence[Picture]) -> Sequence[Sequence[Face] | Exception | None]:
    """`_find_faces`; where the detector fails, every picture is tried alone and its error stands for it."""
    try:
        return _find_faces(corpus, pictures, corpus.recipe.pyramid_px)
    except UserError:
        raise
    except Exception as error:
        if len(pictures) == 1:
            return [error]
    return [found for picture in pictures for found in _find_guarded(corpus, [picture])]


def _find_faces(
    corpus: Corpus, pictures: Sequence[Picture], pyramid_px: tuple[int, ...]
) -> Sequence[Sequence[Face] | None]:
    """Faces of each picture in source pixels, the most prominent first; None where the recipe looks for
    none."""
    if corpus.detector == "none":
        return [None] * len(pictures)
    least = corpus.recipe.limits.min_face_score
    found = pyramid.detect_many(
        _detector_of(corpus),
        [picture.rgb for picture in pictures],
        pyramid=pyramid_px,
        accept=max(pyramid.ACCEPT, least),
        min_score=least,
    )
    return [
        [face.scaled(1 / picture.scale, 1 / picture.scale) if picture.scale != 1 else face for face in faces]
        for picture, faces in zip(pictures, found, strict=True)
    ]


def _finish(corpus: Corpus, looked: _Looked, picture: Picture, faces: Sequence[Face] | None) -> list[Scored]:
    """The rows of an input: one for each of its faces that the recipe wants, at least one."""
    if faces is None:
        return [_crop(corpus, looked.record, None, looked.data, picture)]
    seen, faces = faces, list(filter(plausible, faces))
    if not faces:
        again = _look_again(corpus, looked.data, picture)
        seen, faces = again or seen, list(filter(plausible, again))
    if seen and not faces:
        detail = f"the points of what was found at score {seen[0].score:.3f} lie as no face's do"
        return [(ended(_described(looked.record, seen[0]), IMPLAUSIBLE_FACE, detail), None)]
    return list(_judge_faces(corpus, looked, picture, faces))


def _look_again(corpus: Corpus, data: bytes, picture: Picture) -> Sequence[Face]:
    """Faces too small for the pyramid, in an image larger than its last level."""
    side, longest = corpus.recipe.last_look_px, max(picture.header.width_px, picture.header.height_px)
    if side is None or min(side, longest) <= max(corpus.recipe.pyramid_px):
        return []
    if max(picture.rgb.shape) < min(side, longest):
        picture = _decoded(corpus, data, picture.header, _shorter_px(picture.header, side))
    return _find_faces(corpus, [picture], (side,))[0] or []


def _judge_faces(
    corpus: Corpus, looked: _Looked, picture: Picture, faces: Sequence[Face]
) -> Iterator[Scored]:
    record, data = looked.record, looked.data
    points = record.given_points_px if corpus.detector == "given" else None
    faces = confirm_given(faces, points, record.given_box_xyxy_px)
    several = is_one_of_several(record.id)
    if several and not is_where(faces[:1], record.given_box_xyxy_px):
        detail = "no face was found where the source has the one of this record"
        yield ended(replace(record, faces_found=len(faces)), REASONS.get("no_face"), detail), None
        return
    count = len(faces)
    record = _described(record, faces[0], faces_found=count) if faces else replace(record, faces_found=0)
    looked.record = record
    others = [(face.score, interocular_px(face.points_px)) for face in faces[1:]]
    if (rejected := _rejected(corpus, "faces", record, others)) is not None:
        yield rejected, None
        return
    yield _crop(corpus, record, faces[0], data, picture)
    further = faces[1:] if corpus.recipe.limits.faces == "all" and not several else ()
    for n, face in enumerate(further, start=1):
        row = _described(record, face, id=f"{record.id}#{n}", face_index=n)
        rejected = _rejected(corpus, "faces", row, ())
        yield _crop(corpus, row, face, data, picture) if rejected is None else (rejected, None)


def _described(record: Record, face: Face, **more: Any) -> Record:
    """The record with the face it shows, in source pixels."""
    yaw, pitch, roll = pose_degrees(face.points_px)
    return replace(
        record,
        face_score=face.score,
        box_xyxy_px=face.box_xyxy_px,
        points_px=tuple(float(value) for value in face.points_px.ravel()),
        interocular_px=interocular_px(face.points_px),
        yaw_deg=yaw,
        pitch_deg=pitch,
        roll_deg=roll,
        **more,
    )


def _crop(corpus: Corpus, record: Record, face: Face | None, data: bytes, picture: Picture) -> Scored:
    """Cut, measure, filter and encode the crop of one face (or of the whole image when `face` is None)."""
    recipe, header = corpus.recipe, picture.header
    alignment = _align(corpus, face, picture)
    framing = Framing(alignment.matrix, 1.0, 0.0)
    if face is not None:
        size = header.width_px, header.height_px
        framing = frame(alignment.matrix, face.points_px, *size, recipe.size_px, recipe.limits.max_padded)
    # A crop is cut from pixels at least as fine as its own wherever the source has them.
    (a, b, _), (d, e, _) = framing.matrix.tolist()
    finest = min(1.0, math.sqrt(abs(a * e - b * d)))
    if picture.scale < finest:
        least = math.ceil(min(header.width_px, header.height_px) * finest)
        picture = _decoded(corpus, data, header, least)
    crop = warp(picture.rgb, matrix_for_scale(framing.matrix, picture.scale), recipe.size_px)
    whole = framing.padded == 0.0 and framing.zoom == 1.0
    hashed = crop if whole else as_aligned(picture, alignment.matrix, recipe.size_px)
    brightness, sharpness = measure_crop(crop)
    crop_hash, quality = hashes.perceptual_hash(hashed)
    record = replace(
        record,
        decode_scale=picture.scale,
        alignment=alignment.name,
        matrix=tuple(framing.matrix.ravel().tolist()),
        zoom=framing.zoom,
        padded=framing.padded,
        brightness=brightness,
        sharpness=sharpness,
        crop_hash=crop_hash,
        crop_hash_quality=quality,
    )
    if (rejected := _rejected(corpus, "crop", record)) is not None:
        return rejected, None
    return record, encode_jpeg(crop, quality=recipe.jpeg_quality, chroma=recipe.jpeg_chroma)


def as_aligned(picture: Picture, alignment: Matrix, size_px: int) -> Pixels:
    """The crop that the alignment asks for, whatever the picture holds, for its hash: copies that show more
    and less of a photograph are cut at different zooms, but must be compared at one."""
    scale = _HASHED_PX / size_px
    matrix = matrix_for_scale(alignment, picture.scale) * scale
    matrix[:, 2] += (scale - 1) / 2
    return glimpse(picture.rgb, matrix, _HASHED_PX)


def _align(corpus: Corpus, face: Face | None, picture: Picture) -> align.Alignment:
    recipe, header = corpus.recipe, picture.header
    if recipe.align == "none" or face is None:
        return align.align_none(header.width_px, header.height_px, recipe.size_px)
    if recipe.align == "box":
        return align.align_box(
            face.box_xyxy_px, recipe.size_px, margin=recipe.box_margin, square=recipe.box_square
        )
    if recipe.align == "similarity":
        return align.align_similarity(face.points_px, recipe.size_px, template=recipe.template)
    return align.align_eyes(face, picture.rgb, picture.scale, _detector_of(corpus), recipe.size_px)
