"""MegaFace: the distractors of challenge 1 (`FlickrFinal2`), and the training set of challenge 2 (MF2).

A picture of the distractors has a JSON file beside it with its face's box, which is used, and landmarks,
which are not: those of five points are wrong throughout. Their folders are Flickr accounts, not people. MF2
has a folder for each person, cropped tightly or loosely: the same faces, so one of the two is read; of the
loose ones, `MegafaceIdentities_VGG_META` says where in the crop the face is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, ClassVar

from facecorpus import storage
from facecorpus.record import Record
from facecorpus.sources.archives import Container
from facecorpus.sources.base import Member, Part, Source, adapter, is_archive_name
from facecorpus.sources.layouts import chosen, record_part
from facecorpus.sources.sidecars import Numbers, Sidecars

_KINDS = {
    "meta": re.compile(r".*(?:_META|identities_meta).*", re.IGNORECASE),
    "tight": re.compile(r".*tight.*", re.IGNORECASE),
    "loose": re.compile(r".*loose.*|MegafaceIdentities_VGG.*|identities_\d+.*", re.IGNORECASE),
    "distractors": re.compile(r"FlickrFinal2.*|MegaFace_dataset.*", re.IGNORECASE),
}
_ACCOUNT = re.compile(r"\d+@N\d+")
_PHOTO = re.compile(r"(\d{6,})_\d+")
_PICTURE = re.compile(r"\.(?:jpe?g|png)$", re.IGNORECASE)


@adapter("megaface")
class MegaFace(Source):
    """`MegaFace_dataset.tar.gz`, `identities_tight_cropped.tar.gz`, the loose parts; or what they hold."""

    settings: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "crops": {
            "loose": "of MF2 the loose crops are to be read",
            "tight": "of MF2 the tight crops are to be read",
        }
    }

    def parts(self) -> Sequence[Part]:
        """The distractors, then one of MF2's two crops, by the names of what is there."""
        found = self._found()
        first = {kind: found[kind][0] for kind in ("loose", "tight") if kind in found}
        parts = found.get("distractors", [])
        if first:
            crop = chosen(self, "crops", first, "the same faces")
            parts = parts + next(found[kind] for kind in first if first[kind] == crop)
        return parts or [record_part(self) or Part("")]

    def annotation_files(self) -> Sequence[str]:
        """MF2's META: the archive, or each of its files."""
        return [path for part in self._found().get("meta", []) for path in self._files(part)]

    def load_annotations(self) -> None:
        """Read the boxes: from the files beside the pictures, and from MF2's META."""
        found = self._found()
        self._boxes = Sidecars(_key, _box)
        known = bool(found)
        for part in [*found.get("distractors", []), *found.get("meta", [])] if known else self.parts():
            if not part.container.endswith(".rec"):
                self._boxes.read(self, part)
        self._boxes.sort("the JSON files beside the pictures")

    def members(self, container: Container) -> Iterator[Member]:
        """All but the JSON files."""
        return (m for m in container.members() if not m.path.lower().endswith(".json"))

    def annotate(self, record: Record, member: Member) -> None:
        """The person (MF2's folder, or the RecordIO's label), the photograph on Flickr, and the box."""
        path = PurePosixPath(member.path)
        if member.label is not None or not _ACCOUNT.fullmatch(path.parent.name):
            record.identity = member.label or path.parent.name or None
        if photo := _PHOTO.fullmatch(path.stem):
            record.photo_id = photo[1]
        if "tight" not in f"{record.container}/{member.path}".lower() and (
            row := self._boxes.row(member.path)
        ):
            x0, y0, x1, y1 = row
            record.given_box_xyxy_px = (x0, y0, x1, y1)

    def finish(self) -> None:
        """Say what did not match."""
        self.notes.extend(self._boxes.notes())

    def _files(self, part: Part) -> list[str]:
        if part.container:
            return [part.container]
        walked = storage.walk_files(storage.join(self.location, part.under))
        return [storage.join(part.under, path) for path, _, _ in walked]

    def _found(self) -> dict[str, list[Part]]:
        """The containers by what they are called."""
        found: dict[str, list[Part]] = {}
        names = storage.list_dir(self.location) if storage.is_dir(self.location) else []
        for name in names:
            kind = next((k for k, pattern in _KINDS.items() if pattern.fullmatch(name.rstrip("/"))), None)
            if kind is not None and (name.endswith("/") or is_archive_name(name)):
                part = Part("", name.rstrip("/")) if name.endswith("/") else Part(name)
                found.setdefault(kind, []).append(part)
        return found


def _key(path: str) -> str:
    """What a picture and its JSON file have in common: the last folder, and the name without extensions.

    >>> _key("FlickrFinal2/901/9019583@N08/8032652775_0.jpg.json"), _key("x/9019583@N08/8032652775_0.jpg")
    ('9019583@N08/8032652775_0', '9019583@N08/8032652775_0')
    """
    found = PurePosixPath(path)
    name = _PICTURE.sub("", found.name.removesuffix(".json").removesuffix(".JSON"))
    return f"{found.parent.name}/{name}"


def _box(said: Any) -> Numbers | None:
    """x0, y0, x1, y1 in the picture: of a distractor, or of MF2's face in its loose crop (`exp_bb`)."""
    if "bounding_box" in said:
        box = said["bounding_box"]
        x, y, width, height = (float(box[side]) for side in ("x", "y", "width", "height"))
        return (x, y, x + width, y + height) if width > 0 and height > 0 else None
    box, crop = said["box"], said["exp_bb"]
    left, top, right, bottom = (float(box[side]) for side in ("left", "top", "right", "bottom"))
    x, y = float(crop["left"]), float(crop["top"])
    return (left - x, top - y, right - x, bottom - y)
