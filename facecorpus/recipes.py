"""Named corpus recipes: which sources, which rules, which crop, how duplicates and shards are made.

A recipe is plain data. Its values are stored with the corpus and are part of every unit's digest, so a
changed recipe is noticed. `override` changes single values (`--set limits.min_side_px=100`); unknown names
are refused.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from facecorpus.dedup.rules import DedupRules
from facecorpus.errors import UserError
from facecorpus.faces.detector import DETECTORS
from facecorpus.filters import LIMITS, Limits
from facecorpus.plugins import MORE, Registry, nearest

Align = Literal["similarity", "eyes", "box", "none"]
Chroma = Literal["444", "422", "420"]


@dataclass(frozen=True)
class CorpusRecipe:
    """Everything that decides what a corpus holds. The same recipe and inputs give the same bytes."""

    name: str
    """Name of the recipe and prefix of the shards."""
    about: str
    """One sentence for `facecorpus recipes`."""
    sources: tuple[str, ...] = ()
    """Sources to build from when `--sources` is not given."""
    detector: str = "auto"
    """Face detector; `auto` is RetinaFace with ResNet-50 on a GPU and with MobileNet-0.25 without one;
    `given` takes the source's own landmarks where the MobileNet detector confirms them; `none` looks for no
    face."""
    pyramid_px: tuple[int, ...] = (160, 320, 640)
    """Longer sides at which the detector looks, smallest first; it climbs only when unsure."""
    last_look_px: int | None = 1280
    """Where no face was found, decode finer and look once more at this size: small faces in large
    photographs."""
    limits: Limits = field(default_factory=Limits)
    """Filters on the header, the pixels and the faces."""
    align: Align = "similarity"
    """How the crop is cut (see `facecorpus.faces.align`); `none` is the plain resize of the whole image."""
    template: str = "wide-224"
    """Target positions of the five points for `similarity`, where the picture has room for the crop (see
    `limits.max_padded`)."""
    box_margin: float = 0.05
    """Fraction of the box's width and height added on each side for `box`."""
    box_square: bool = True
    """For `box`: cut a square about the box; else squash the box itself into the crop."""
    size_px: int = 224
    """Side of the square crop."""
    jpeg_quality: int = 95
    """libjpeg quality of the crops."""
    jpeg_chroma: Chroma = "444"
    """Chroma subsampling of the crops; 4:4:4 keeps the colour of lips and irises sharp."""
    dedup: DedupRules | None = field(default_factory=DedupRules)
    """Which records show the same picture, and which of them is kept; none keeps every copy."""
    samples_per_shard: int = 10_000
    """Samples in a full shard (about 300 MB)."""
    group_by: Literal["none", "identity"] = "none"
    """Which samples may share a shard: any, or those of one person of one source, so that a fold of people
    reads shards of its own."""
    inputs_per_unit: int = 1_000
    """Inputs scored between two done marks: what a kill can cost one worker. A unit that begins within a
    video decodes it from its start."""
    seed: int = 0
    """Key of the shuffle across sources."""
    sidecar_json: bool = False
    """Also write KEY.json (1 KB a sample) into the shards; everything in it is in the Parquet beside the
    shard."""

    def __post_init__(self) -> None:
        positive = ("size_px", "samples_per_shard", "inputs_per_unit")
        for name in positive:
            if getattr(self, name) < 1:
                raise UserError(f"recipe value {name} is {getattr(self, name)}; give a number of at least 1")
        if not 1 <= self.jpeg_quality <= 100:
            raise UserError(f"recipe value jpeg_quality is {self.jpeg_quality}; give a number from 1 to 100")
        known = ("auto", *DETECTORS, "given", "none")
        if self.detector not in known:
            raise UserError(
                f"recipe value detector is {self.detector!r}; give one of {', '.join(known)} ({MORE})"
            )
        if self.detector == "none" and self.align != "none":
            raise UserError(
                f"recipe value align={self.align} needs faces, but detector=none looks for none; "
                "set align=none or choose a detector"
            )
        if not self.pyramid_px or list(self.pyramid_px) != sorted(set(self.pyramid_px)):
            raise UserError(
                f"recipe value pyramid_px is {self.pyramid_px}; give rising side lengths in pixels"
            )
        if not 0 <= self.seed < 1 << 64:
            raise UserError(f"recipe value seed is {self.seed}; give a whole number from 0 to 2^64 - 1")


RECIPES: Registry[Callable[[], CorpusRecipe]] = Registry("--recipe {}: there is no such recipe")


@RECIPES.register("sample")
def sample() -> CorpusRecipe:
    """What `make corpus` builds: one clear face in each picture, aligned by five points."""
    return CorpusRecipe(
        name="sample",
        about="Small shards of one-face pictures, aligned by five points: for trying the tool.",
        sources=(
            "celeba",
            "vggface2",
            "casia_webface",
            "casia_webface_rec=casia_webface:casia_webface_rec",
            "folder",
        ),
        limits=Limits(faces="one"),
        samples_per_shard=500,
        inputs_per_unit=250,
    )


FACE9M_SOURCES = (
    "celeba",
    "ffhq",
    "vggface2",
    "casia_webface",
    "megaface",
    "edface_celeb_1m",
    "umdfaces",
    "laion_face",
)
"""The eight sources of Face9M (FMAE-IAT paper, section 3.1)."""


@RECIPES.register("face9m")
def face9m() -> CorpusRecipe:
    """Face9M as the paper describes it (section 3.1), with the alignment and dedup it does not describe."""
    return CorpusRecipe(
        name="face9m",
        about="The paper's eight sources, aspect ratio above 1.5 dropped, aligned, 224 px, no duplicates.",
        sources=FACE9M_SOURCES,
        limits=Limits(faces="main"),
    )


@RECIPES.register("face9m-script")
def face9m_script() -> CorpusRecipe:
    """What the released script does: sides below 224 px and ratios above 1.5 dropped, a plain resize, JPEG
    q75 4:2:0."""
    return CorpusRecipe(
        name="face9m-script",
        about="What the released script does: sides under 224 px dropped, plain resize, JPEG q75, no dedup.",
        sources=FACE9M_SOURCES,
        detector="none",
        limits=Limits(min_side_px=224),
        align="none",
        jpeg_quality=75,
        jpeg_chroma="420",
        dedup=None,
    )


@RECIPES.register("mae-face")
def mae_face() -> CorpusRecipe:
    """MAE-Face's corpus: faces rotated by the eyes, detected again and cut square (paper, section 3)."""
    return CorpusRecipe(
        name="mae-face",
        about="MAE-Face: rotated by the eyes, detected again, square crop.",
        sources=("affectnet", "casia_webface", "imdb_wiki", "celeba"),
        limits=Limits(faces="main", max_aspect_ratio=None),
        align="eyes",
    )


@RECIPES.register("au")
def action_units() -> CorpusRecipe:
    """Annotated frames aligned by five points.

    Labelled frames are few and dear: only those without a face are lost, as in the published lists, and
    neighbouring frames that look the same stay, since each has labels of its own.
    """
    return CorpusRecipe(
        name="au",
        about="Annotated frames (DISFA, BP4D, BP4D+), aligned by five points; a shard holds one person.",
        sources=("disfa", "bp4d", "bp4d_plus"),
        limits=Limits(
            faces="main", max_aspect_ratio=None, min_face_score=0.5, min_interocular_px=0.0, max_padded=1.0
        ),
        dedup=None,
        group_by="identity",
        sidecar_json=True,
    )


@RECIPES.register("au-eyes")
def action_units_eyes() -> CorpusRecipe:
    """Annotated frames cut as MAE-Face does (paper, section 3)."""
    return dataclasses.replace(
        action_units(),
        name="au-eyes",
        about="Annotated frames as MAE-Face cuts them: rotated by the eyes, detected again, square crop.",
        align="eyes",
    )


@RECIPES.register("au-box")
def action_units_box() -> CorpusRecipe:
    """Annotated frames cut as FMAE does: the detector's box, 5 % wider on each side, not aligned."""
    return dataclasses.replace(
        action_units(),
        name="au-box",
        about="Annotated frames as FMAE cuts them: the detector's box + 5 % on each side, not aligned.",
        align="box",
        box_square=False,
    )


def recipe(name: str) -> CorpusRecipe:
    """The recipe of that name.

    Raises:
        UserError: there is none; the message suggests the nearest.
    """
    return RECIPES.get(name)()


def to_plain(value: CorpusRecipe) -> dict[str, Any]:
    """The recipe as JSON-able data."""
    return json.loads(json.dumps(dataclasses.asdict(value), default=Limits.plain))


def from_plain(data: Mapping[str, Any]) -> CorpusRecipe:
    """The recipe that `to_plain` wrote.

    Raises:
        UserError: a value is unknown or of the wrong type.
    """
    return typing.cast(CorpusRecipe, _build(CorpusRecipe, data, "recipe"))


def override(value: CorpusRecipe, settings: typing.Iterable[str]) -> CorpusRecipe:
    """The recipe with `name=value` settings applied, nested names joined by dots.

    Raises:
        UserError: a setting is no `name=value`, names nothing, or its value has the wrong type.
    """
    data = json.loads(json.dumps(dataclasses.asdict(value), default=vars))
    for setting in settings:
        path, mark, text = setting.partition("=")
        if not mark:
            raise UserError(f"--set {setting}: write it as NAME=VALUE, for example limits.min_side_px=100")
        *groups, last = path.split(".")
        target: Any = data
        for depth, name in enumerate((*groups, last)):
            if target is None:
                group = ".".join(groups[:depth])
                raise UserError(
                    f"--set {setting}: {group} is off in this recipe, so this would change nothing; leave it "
                    f"out, or put --set {group}={{}} before it, which turns {group} on"
                )
            if not isinstance(target, dict) or name not in target:
                raise UserError(
                    f"--set {setting}: the recipe has no value {path!r}; {_path_hint(path, data)}"
                )
            if depth < len(groups):
                target = target[name]
        try:
            target[last] = json.loads(text)
        except json.JSONDecodeError:
            target[last] = text
        if isinstance(target[last], dict):  # a whole group: the values it does not name are the defaults
            data = to_plain(from_plain(data))
    return from_plain(data)


def _path_hint(path: str, data: Mapping[str, Any]) -> str:
    """Which of the recipe's dotted names `path` may have meant, always in full."""
    leaves = [
        leaf
        for name, value in data.items()
        for leaf in ([f"{name}.{inner}" for inner in value] if isinstance(value, dict) else [name])
    ]
    last = path.rpartition(".")[2]
    for near in (
        [leaf for leaf in leaves if leaf.rpartition(".")[2] == last],
        difflib.get_close_matches(path, leaves, n=1, cutoff=0.75),
        [leaf for leaf in leaves if leaf.rpartition(".")[2].startswith(last)],
        difflib.get_close_matches(path, leaves, n=1),
    ):
        if near:
            return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(sorted(leaves))}"


def _build(cls: Any, data: Any, path: str) -> Any:
    """An instance of dataclass `cls` from plain data, every value checked against its annotation."""
    if not isinstance(data, Mapping):
        raise UserError(f"recipe value {path} is {data!r}; give a group of values")
    if cls is Limits:
        return Limits(**{name: _convert(LIMITS.get(name).hint, item, name) for name, item in data.items()})
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise UserError(f"recipe value {path}.{unknown[0]} is unknown; {nearest(unknown[0], hints)}")
    return cls(**{name: _convert(hints[name], item, name) for name, item in data.items()})


def _convert(hint: Any, value: Any, name: str) -> Any:
    """`value` as the annotated type `hint`: dataclass, tuple, Literal, optional or a plain scalar."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) or hint is Limits:
        return _build(hint, value, name)
    if origin in (types.UnionType, typing.Union):
        if value in (None, "none") and type(None) in arguments:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, name)
    if origin is Literal:
        text = str(value) if all(isinstance(a, str) for a in arguments) else value
        if text not in arguments:
            raise UserError(f"recipe value {name} is {value!r}; give one of {', '.join(map(str, arguments))}")
        return text
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list):
            items = [items]
        return tuple(_convert(arguments[0], item, name) for item in items)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, str) and value.isdigit():
        return int(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise UserError(f"recipe value {name} is {value!r}; give a value of type {hint.__name__}")
    return value
