"""What is made of an input: decoded, judged by the recipe's filters, its faces found, cut and encoded."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from facecorpus import filters
from facecorpus.dedup import hashes
from facecorpus.errors import UserError
from facecorpus.faces import align, detector
from facecorpus.faces.detector import Detector, Face
from facecorpus.faces.face import IMPLAUSIBLE_FACE
from facecorpus.faces.framing import Framing, frame
from facecorpus.filters.measures import measure_crop
from facecorpus.filters.no_face import NO_FACE
from facecorpus.images import Header, ImageError, Picture, Pixels, decode, encode_jpeg, read_header
from facecorpus.phases.corpus import Corpus
from facecorpus.phases.scored import ERROR, LEFT_OUT, UNREADABLE
from facecorpus.reasons import Reason
from facecorpus.record import Record, State, is_one_of_several
from facecorpus.sources.base import InputError, Reader

_HASHED_PX = 128
"""Side of the crop that is made for the perceptual hash alone, which looks at no more."""
GROUP = 32
"""Pictures that go to the detector together, at most."""
GROUP_BYTES = 64 << 20
"""Decoded bytes that wait for the detector at most, besides the last picture; bounds a worker's memory."""


@functools.lru_cache(maxsize=2)
def _detector(name: str, weights: str | None, device: str) -> Detector:
    return detector.make_detector(name, weights=weights, device=device)


def _detector_of(corpus: Corpus) -> Detector:
    return _detector(corpus.model(), corpus.weights, corpus.device)


@dataclass(slots=True)
class _Looked:
    """An input after the first look: either it has ended, or its picture waits for the detector."""

    record: Record
    data: bytes = b""
    picture: Picture | None = None


def make_ready(corpus: Corpus) -> None:
    """Load the detector: a fault in that is no input's."""
    if corpus.detector != "none":
        _detector_of(corpus)


def judge(corpus: Corpus, reader: Reader, records: Iterable[Record]) -> Iterator[tuple[Record, bytes | None]]:
    """The rows made from inputs, in their order, each with its encoded crop when it is a candidate.

    An input that a rule rejects, or that cannot be read, makes one row without a crop. Pictures go to the
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


def _look(corpus: Corpus, reader: Reader, record: Record) -> _Looked:
    """Read, judge by the header, decode and hash."""
    if record.left_out is not None:
        return _Looked(ended(record, LEFT_OUT, record.left_out))
    try:
        data = reader.read(record)
    except InputError as error:
        return _Looked(ended(record, error.reason, str(error)))
    except (OSError, UserError) as error:
        # The ledger keeps the input and the run goes on: one bad sector must not cost a night.
        return _Looked(ended(record, UNREADABLE, str(error)))
    except Exception as error:
        return _Looked(_mistaken(record, error))
    record.sha256 = hashlib.sha256(data).hexdigest()
    limits = corpus.recipe.limits
    try:
        header = read_header(data, record.member)
        record.image_format, record.orientation = header.format, header.orientation
        record.width_px, record.height_px = header.width_px, header.height_px
        verdict = filters.judge("header", record, limits)
        if verdict is not None:
            return _Looked(_rejected(record, verdict))
        picture = decode(
            data, header, min_side_px=_first_look_px(corpus, header), max_pixels=limits.max_pixels
        )
        record.pixel_hash = hashes.pixel_hash(picture.rgb)
        record.image_hash, record.image_hash_quality = hashes.image_hash(picture.rgb)
    except ImageError as error:
        return _Looked(ended(record, error.reason, str(error)))
    except Exception as error:
        return _Looked(_mistaken(record, error))
    return _Looked(record, data, picture)


def _judge_group(corpus: Corpus, group: Sequence[_Looked]) -> Iterator[tuple[Record, bytes | None]]:
    """Detect in all pictures of the group, then cut and encode what the rules leave."""
    pictures = [looked.picture for looked in group if looked.picture is not None]
    found = iter(_find_guarded(corpus, pictures))
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


def _mistaken(record: Record, error: Exception) -> Record:
    """An input that trips over a mistake of ours: it must not stop nine million others."""
    return ended(record, ERROR, f"{type(error).__name__}: {error}")


def _find_guarded(corpus: Corpus, pictures: Sequence[Picture]) -> Sequence[Sequence[Face] | Exception | None]:
    """`_find_faces`; where the detector fails, every picture is tried alone and its error stands for it."""
    try:
        return _find_faces(corpus, pictures)
    except UserError:
        raise
    except Exception as error:
        if len(pictures) == 1:
            return [error]
    return [found for picture in pictures for found in _find_guarded(corpus, [picture])]


def _finish(
    corpus: Corpus, looked: _Looked, picture: Picture, faces: Sequence[Face] | None
) -> list[tuple[Record, bytes | None]]:
    if faces is not None:
        first, faces = faces, _plausible(faces)
        if not faces:
            again = _look_again(corpus, looked)
            first, faces = again or first, _plausible(again)
        if first and not faces:
            _describe(looked.record, first[0])
            detail = f"the points of what was found at score {first[0].score:.3f} lie as no face's do"
            return [(ended(looked.record, IMPLAUSIBLE_FACE, detail), None)]
    return list(_judge_faces(corpus, looked, picture, faces))


def _plausible(faces: Sequence[Face]) -> list[Face]:
    return [face for face in faces if detector.plausible(face)]


def _look_again(corpus: Corpus, looked: _Looked) -> Sequence[Face]:
    """Faces too small for the pyramid, in an image larger than its last level."""
    side, picture, limits = corpus.recipe.last_look_px, looked.picture, corpus.recipe.limits
    if side is None or picture is None:
        return []
    short, long = sorted((picture.header.width_px, picture.header.height_px))
    if min(side, long) <= max(corpus.recipe.pyramid_px):
        return []
    if max(picture.rgb.shape) < min(side, long):
        picture = decode(
            looked.data, picture.header, min_side_px=-(-side * short // long), max_pixels=limits.max_pixels
        )
    return _find_faces(corpus, [picture], (side,))[0] or []


def ended(record: Record, reason: Reason, detail: str) -> Record:
    """The record with what became of it."""
    record.state, record.reason, record.detail = reason.state, reason.name, detail
    return record


def _rejected(record: Record, verdict: filters.Verdict) -> Record:
    return ended(record, verdict.reason, verdict.detail)


def _judge_faces(
    corpus: Corpus, looked: _Looked, picture: Picture, faces: Sequence[Face] | None
) -> Iterator[tuple[Record, bytes | None]]:
    record, data, limits = looked.record, looked.data, corpus.recipe.limits
    if faces is None:
        yield _crop(corpus, record, None, data, picture)
        return
    points = record.given_points_px if corpus.detector == "given" else None
    faces = detector.confirm_given(faces, points, record.given_box_xyxy_px)
    several = is_one_of_several(record.id)
    if several and not detector.is_where(faces[:1], record.given_box_xyxy_px):
        detail = "no face was found where the source has the one of this record"
        yield ended(record, NO_FACE, detail), None
        return
    ranked = [(face.score, align.interocular_px(face.points_px)) for face in faces]
    record.faces_found = len(faces)
    if faces:
        _describe(record, faces[0])
    verdict = filters.judge("faces", record, limits, ranked[1:])
    if verdict is not None:
        yield _rejected(record, verdict), None
        return
    chosen = faces if limits.faces == "all" and not several else faces[:1]
    # Copied before any is judged: what becomes of one face must not show on the next.
    further = [replace(record, id=f"{record.id}#{n}", face_index=n) for n in range(1, len(chosen))]
    for index, (row, face) in enumerate(zip([record, *further], chosen, strict=True)):
        _describe(row, face)
        verdict = filters.judge("faces", row, limits, ()) if index else None
        yield (
            (_rejected(row, verdict), None)
            if verdict is not None
            else _crop(corpus, row, face, data, picture)
        )


def _first_look_px(corpus: Corpus, header: Header) -> int:
    """Shorter side to decode at least for detection: the longer one then fills the largest pyramid level."""
    longest = max(corpus.recipe.pyramid_px) if corpus.detector != "none" else corpus.recipe.size_px
    short, long = sorted((header.width_px, header.height_px))
    if corpus.detector == "none":
        return longest
    return max(-(-longest * short // long), 1)


def _find_faces(
    corpus: Corpus, pictures: Sequence[Picture], pyramid_px: tuple[int, ...] | None = None
) -> Sequence[Sequence[Face] | None]:
    """Faces of each picture in source pixels, the most prominent first; None where the recipe looks for
    none."""
    if corpus.detector == "none":
        return [None] * len(pictures)
    recipe = corpus.recipe
    found = detector.detect_many(
        _detector_of(corpus),
        [picture.rgb for picture in pictures],
        pyramid=pyramid_px or recipe.pyramid_px,
        accept=max(detector.ACCEPT, recipe.limits.min_face_score),
        min_score=recipe.limits.min_face_score,
    )
    return [
        [_in_source_pixels(face, picture.scale) for face in faces]
        for picture, faces in zip(pictures, found, strict=True)
    ]


def _in_source_pixels(face: Face, scale: float) -> Face:
    if scale == 1.0:
        return face
    x0, y0, x1, y1 = ((value + 0.5) / scale - 0.5 for value in face.box_xyxy_px)
    return Face((x0, y0, x1, y1), ((face.points_px + 0.5) / scale - 0.5).astype(np.float32), face.score)


def _describe(record: Record, face: Face) -> None:
    record.face_score = face.score
    record.box_xyxy_px = face.box_xyxy_px
    record.points_px = tuple(float(value) for value in face.points_px.ravel())
    record.interocular_px = align.interocular_px(face.points_px)
    record.yaw_deg, record.pitch_deg, record.roll_deg = align.pose_degrees(face.points_px)


def _crop(
    corpus: Corpus, record: Record, face: Face | None, data: bytes, picture: Picture
) -> tuple[Record, bytes | None]:
    """Cut, measure, filter and encode the crop of one face (or of the whole image when `face` is None)."""
    recipe, header = corpus.recipe, picture.header
    alignment = _align(corpus, face, picture)
    framing = Framing(alignment.matrix, 1.0, 0.0)
    if face is not None:
        framing = frame(
            alignment.matrix,
            face.points_px,
            header.width_px,
            header.height_px,
            recipe.size_px,
            recipe.limits.max_padded,
        )
    # A crop is cut from pixels at least as fine as its own wherever the source has them.
    (a, b, _), (d, e, _) = framing.matrix.tolist()
    finest = min(1.0, math.sqrt(abs(a * e - b * d)))
    short = min(header.width_px, header.height_px)
    if picture.scale < finest:
        picture = decode(
            data, header, min_side_px=math.ceil(short * finest), max_pixels=recipe.limits.max_pixels
        )
    matrix = align.matrix_for_scale(framing.matrix, picture.scale)
    crop = align.warp(picture.rgb, matrix, recipe.size_px)
    record.decode_scale, record.zoom, record.padded = picture.scale, framing.zoom, framing.padded
    record.alignment, record.matrix = alignment.name, tuple(framing.matrix.ravel().tolist())
    record.brightness, record.sharpness = measure_crop(crop)
    whole = (
        crop
        if framing.padded == 0.0 and framing.zoom == 1.0
        else as_aligned(picture, alignment.matrix, recipe.size_px)
    )
    record.crop_hash, record.crop_hash_quality = hashes.crop_hash(whole)
    verdict = filters.judge("crop", record, recipe.limits)
    if verdict is not None:
        return _rejected(record, verdict), None
    record.state = State.CANDIDATE
    return record, encode_jpeg(crop, quality=recipe.jpeg_quality, chroma=recipe.jpeg_chroma)


def as_aligned(picture: Picture, alignment: align.Matrix, size_px: int) -> Pixels:
    """The crop that the alignment asks for, whatever the picture holds, for its hash: copies that show more
    and less of a photograph are cut at different zooms, but must be compared at one."""
    scale = _HASHED_PX / size_px
    matrix = align.matrix_for_scale(alignment, picture.scale) * scale
    matrix[:, 2] += (scale - 1) / 2
    return align.glimpse(picture.rgb, matrix, _HASHED_PX)


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
