"""Which pictures the miniature data sets hold, and what must become of each of them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from facecorpus.record import State

SAMPLE = ("celeba", "vggface2", "casia_webface", "casia_webface_rec", "folder")
"""The data sets that are drawn unless others are named."""
ALL = (
    *(*SAMPLE, "ffhq", "megaface", "edface_celeb_1m", "umdfaces", "laion_face"),
    *("rafdb", "affectnet", "recordio", "imdb_wiki", "webdataset", "parquet"),
)
"""The data sets whose layouts are drawn here, in the order in which they are planned. Others are drawn by
their adapters (`Source.lay_out`)."""

Kind = Literal["portrait", "group", "scene"]
Edit = Literal["none", "recompressed", "brighter", "cropped"]
Damage = Literal["truncated", "empty", "html", "garbage", "thumbs", "text"]

SIZES = {
    "tiny": {
        "celeba": 13,
        "vggface2": 15,
        "casia_webface": 12,
        "casia_webface_rec": 8,
        "folder": 14,
        "ffhq": 8,
        "megaface": 10,
        "edface_celeb_1m": 8,
        "umdfaces": 10,
        "laion_face": 10,
        "affectnet": 12,
        "imdb_wiki": 12,
        "rafdb": 8,
        "recordio": 8,
        "webdataset": 10,
        "parquet": 8,
    },
    "sample": {
        "celeba": 420,
        "vggface2": 380,
        "casia_webface": 320,
        "casia_webface_rec": 240,
        "folder": 140,
        "ffhq": 90,
        "megaface": 120,
        "edface_celeb_1m": 90,
        "umdfaces": 120,
        "laion_face": 120,
        "affectnet": 90,
        "imdb_wiki": 90,
        "rafdb": 60,
        "recordio": 60,
        "webdataset": 60,
        "parquet": 60,
    },
}
"""Number of inputs by preset and data set."""
PEOPLE = {
    "tiny": {
        "celeba": 6,
        "vggface2": 4,
        "casia_webface": 3,
        "casia_webface_rec": 3,
        "folder": 6,
        "ffhq": 8,
        "megaface": 5,
        "edface_celeb_1m": 8,
        "umdfaces": 5,
        "laion_face": 10,
        "affectnet": 6,
        "imdb_wiki": 4,
        "rafdb": 8,
        "recordio": 4,
        "webdataset": 5,
        "parquet": 4,
    },
    "sample": {
        "celeba": 120,
        "vggface2": 40,
        "casia_webface": 32,
        "casia_webface_rec": 24,
        "folder": 60,
        "ffhq": 90,
        "megaface": 40,
        "edface_celeb_1m": 90,
        "umdfaces": 24,
        "laion_face": 110,
        "affectnet": 80,
        "imdb_wiki": 24,
        "rafdb": 60,
        "recordio": 12,
        "webdataset": 20,
        "parquet": 20,
    },
}
_OWN = {"tiny": (10, 4), "sample": (60, 20)}
"""Inputs and people of a data set that its adapter draws."""
_ARCHIVES = ("celeba", "vggface2", "casia_webface", "folder")
_LOOSE = ("vggface2", "folder")
ANNOTATED_CROWDS = ("umdfaces", "laion_face")
"""Whole photographs, in which several people may be annotated."""
_ANY_SIZE = (
    *(*_LOOSE, "megaface", *ANNOTATED_CROWDS),
    *("rafdb", "affectnet", "imdb_wiki", "webdataset", "parquet"),
)
"""Whose near duplicates have their original's shape."""
_ROLES: dict[str, tuple[float, tuple[str, ...]]] = {
    # role: share of the inputs, data sets that hold it
    "copy": (0.030, ALL),
    "near": (0.050, ALL),
    "cross copy": (0.025, (*_LOOSE, "megaface")),
    "cross near": (0.035, (*_LOOSE, "casia_webface_rec", "laion_face")),
    "truncated": (0.012, ALL),
    "group": (0.025, ALL),
    "scene": (0.020, ALL),
    "empty": (0.006, _ARCHIVES),
    "html": (0.006, _ARCHIVES),
    "garbage": (0.006, _ARCHIVES),
    "thumbs": (0.006, _ARCHIVES),
    "text": (0.006, _ARCHIVES),
    "wide": (0.012, _LOOSE),
    "tall": (0.012, _LOOSE),
    "tiny": (0.016, _LOOSE),
}
_CROSS = {
    "vggface2": ("celeba", "casia_webface"),
    "folder": ("celeba", "vggface2", "casia_webface", "casia_webface_rec"),
    "casia_webface_rec": ("casia_webface",),
    "megaface": ("ffhq",),
    "laion_face": ("ffhq", "megaface"),
}
"""Whose pictures may turn up again in a data set."""
_REASONS = {
    "truncated": (State.FAILED, "corrupt"),
    "empty": (State.FAILED, "empty"),
    "html": (State.FAILED, "corrupt"),
    "garbage": (State.FAILED, "corrupt"),
    "thumbs": (State.REJECTED, "not_an_image"),
    "text": (State.REJECTED, "not_an_image"),
    "group": (State.REJECTED, "several_faces"),
    "scene": (State.REJECTED, "no_face"),
    "wide": (State.REJECTED, "aspect_ratio"),
    "tall": (State.REJECTED, "aspect_ratio"),
    "tiny": (State.REJECTED, "too_small"),
}


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture to draw; several inputs may show it."""

    number: int
    """Unique: the picture's seed."""
    kind: Kind
    style: str
    """The data set whose framing it has."""
    people: tuple[int, ...]
    """Indices of the identities, left to right."""
    size_px: tuple[int, int]
    """Width and height."""


@dataclass(frozen=True, slots=True)
class Item:
    """One input of a data set."""

    source: str
    person: int
    """Whose place in the data set's layout it has, from 0."""
    role: str
    shot: Shot | None
    """None: no picture at all."""
    size_px: tuple[int, int]
    """Of the picture as stored."""
    edit: Edit
    coding: tuple[str, int]
    """"jpg", "png" or "webp", and the quality."""
    damage: Damage | None
    outcome: State
    reason: str | None
    group: str | None = None


def plan(sources: Sequence[str], seed: int, preset: str) -> list[Item]:
    """All inputs of `sources`: a pure function of the arguments, ordered by source and place in it."""
    items: list[Item] = []
    first_person = 0
    for name in ALL:
        items += _plan_source(name, first_person, len(items), seed, preset)
        first_person += PEOPLE[preset][name]
    items = _plan_duplicates(items, np.random.default_rng([seed, 0xD0B]))
    for name in sorted({*sources} - {*ALL}):
        own = _plan_source(name, first_of(name, preset), first_of(name, preset), seed, preset)
        items += _plan_duplicates(own, np.random.default_rng([seed, place_of(name), 0xD0B]))
    return _without_lonely([item for item in items if item.source in sources])


def place_of(name: str) -> int:
    """Where a data set stands among all; of one that its adapter draws a number made of its name, so that it
    does not depend on which others there are."""
    return ALL.index(name) if name in ALL else 1000 + zlib.crc32(name.encode())


def first_of(name: str, preset: str) -> int:
    """Number of a data set's first person among all that are drawn."""
    if name not in ALL:
        return 1000 * place_of(name)
    return sum(PEOPLE[preset][other] for other in ALL[: ALL.index(name)])


def _plan_source(name: str, first_person: int, first_number: int, seed: int, preset: str) -> list[Item]:
    rng = np.random.default_rng([seed, place_of(name), 0x91A])
    count, people = SIZES[preset].get(name, _OWN[preset][0]), PEOPLE[preset].get(name, _OWN[preset][1])
    roles = _roles(name, count, preset)
    roles = [roles[i] for i in rng.permutation(count)]
    out = []
    for place, role in enumerate(roles):
        person = place * people // count
        who = first_person + person
        kind: Kind = "group" if role == "group" else "scene" if role == "scene" else "portrait"
        others = tuple(first_person + int(i) for i in rng.choice(people, 3, replace=False))
        size = _size(name, role, rng)
        crowd = others if name in _LOOSE + ANNOTATED_CROWDS else others[:2]
        shot = Shot(first_number + place, kind, name, crowd if kind == "group" else (who,), size)
        outcome, reason = _REASONS.get(role, (State.KEPT, None))
        if (name, role) == ("affectnet", "scene"):
            reason = "left_out"  # the set's own class of what is no face
        damage: Damage | None = (
            role if role in ("truncated", "empty", "html", "garbage", "thumbs", "text") else None
        )  # type: ignore[assignment]
        drawn = damage in (None, "truncated")
        coding = _coding(name, rng) if damage is None else ("jpg", 92)
        out.append(
            Item(name, person, role, shot if drawn else None, size, "none", coding, damage, outcome, reason)
        )
    return out


def _roles(name: str, count: int, preset: str) -> list[str]:
    roles: list[str] = []
    for k, (role, (share, where)) in enumerate(_ROLES.items()):
        if name not in where and not (where is ALL and name not in ALL):
            continue
        if preset == "tiny":  # every role in about every other data set
            number = (k + place_of(name)) % 2
        else:
            number = max(1, round(share * count))
        roles += [role] * number
    return roles + ["portrait"] * (count - len(roles))


def _size(name: str, role: str, rng: np.random.Generator) -> tuple[int, int]:
    fixed = {
        "celeba": (178, 218),
        "casia_webface": (250, 250),
        "casia_webface_rec": (112, 112),
        "ffhq": (256, 256),
        "edface_celeb_1m": (128, 128),
        "recordio": (112, 112),
    }
    if name in fixed:
        return fixed[name]
    if role == "tiny":
        return int(rng.integers(40, 60)), int(rng.integers(44, 60))
    short = int(rng.integers(150, 190))
    if role == "wide":
        return int(short * rng.uniform(1.62, 2.1)), short
    if role == "tall":
        return short, int(short * rng.uniform(1.62, 1.95))
    if role == "group":
        return int(rng.integers(290, 330)), int(rng.integers(225, 250))
    if name == "vggface2":
        width = int(rng.integers(140, 240))
        return width, int(width * rng.uniform(1.05, 1.38))
    sizes = ((320, 320), (300, 400), (384, 288), (256, 256), (240, 320), (360, 300))
    return sizes[int(rng.integers(len(sizes)))]


def _coding(name: str, rng: np.random.Generator) -> tuple[str, int]:
    if name in ("ffhq", "edface_celeb_1m"):
        return "png", 3
    if name != "folder":
        return "jpg", int(rng.integers(88, 97))
    kind = ("jpg", "jpg", "png", "webp")[int(rng.integers(4))]
    return kind, {"jpg": int(rng.integers(86, 96)), "png": 3, "webp": 90}[kind]


def _plan_duplicates(items: list[Item], rng: np.random.Generator) -> list[Item]:
    """Replace the pictures of the duplicate roles by others' and label the groups."""
    out = list(items)
    free: dict[str, list[int]] = {}
    for i, item in enumerate(items):
        if item.role == "portrait":
            free.setdefault(item.source, []).append(i)
    for index, item in enumerate(items):
        if item.role not in ("copy", "near", "cross copy", "cross near"):
            continue
        choices = _CROSS[item.source] if item.role.startswith("cross") else (item.source,)
        pool = free.get(choices[int(rng.integers(len(choices)))], [])
        within = not item.role.startswith("cross")
        mislabelled = item.role == "copy" and rng.random() < 0.3
        if mislabelled:
            pool = [i for i in pool if out[i].group is None]
        elif (
            within and item.source != "folder"
        ):  # near duplicates under two labels of one set are not planted
            pool = [i for i in pool if items[i].person == item.person]
        if not pool:
            out[index] = replace(item, role="portrait")
            continue
        target = pool[int(rng.integers(len(pool)))]
        original = out[target]
        label = original.group or f"{'' if item.source in ALL else item.source + '-'}group-{target:05d}"
        if not within or items[target].person != item.person or rng.random() < 0.7:
            free[original.source].remove(target)  # else it may be there three times
        out[target] = replace(original, group=label)
        if item.role.endswith("copy"):
            copied = (original.size_px, "none", original.coding)
        else:
            copied = _near(item, original, rng)
        size, edit, coding = copied
        out[index] = replace(
            item,
            shot=original.shot,
            size_px=size,
            edit=edit,
            coding=coding,
            outcome=State.DUPLICATE,
            group=label,
        )
    return out


def _near(
    item: Item, original: Item, rng: np.random.Generator
) -> tuple[tuple[int, int], Edit, tuple[str, int]]:
    """Stored size, edit and coding of a near duplicate of `original` in `item`'s place."""
    edits: tuple[Edit, ...] = ("recompressed", "brighter", "cropped")
    edit = edits[int(rng.integers(3))]
    size = item.size_px
    if item.source in _ANY_SIZE or item.source not in ALL:
        factor = float(rng.choice([1.0, 1.15, 1.3]))
        width, height = original.size_px
        size = round(width * factor), round(height * factor)
    keeps = item.source == "folder" or item.coding[0] == "png"
    coding = item.coding if keeps else ("jpg", int(rng.integers(78, 88)))
    return size, edit, coding


def _without_lonely(items: list[Item]) -> list[Item]:
    """Groups of one are no groups; the first of each group counts as the kept one."""
    counts: dict[str, int] = {}
    for item in items:
        if item.group:
            counts[item.group] = counts.get(item.group, 0) + 1
    out, seen = [], set()
    for item in items:
        if item.group is not None:
            alone, first = counts[item.group] == 1, item.group not in seen
            seen.add(item.group)
            item = replace(
                item, group=None if alone else item.group, outcome=State.KEPT if first else State.DUPLICATE
            )
        out.append(item)
    return out
