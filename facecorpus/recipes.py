"""Named corpus recipes: which sources, which rules, which crop, how duplicates and shards are made.

A recipe is plain data. Its values are stored with the corpus and are part of every unit's digest, so a
changed recipe is noticed. `--set limits.min_side_px=100` changes a single value (`facecorpus.typed`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from facecorpus.dedup.rules import DedupRules
from facecorpus.errors import UserError
from facecorpus.faces.detector import DETECTORS
from facecorpus.filters import Limits
from facecorpus.plugins import MORE, Registry
from facecorpus.typed import Check, Checked, Positive

Align = Literal["similarity", "eyes", "box", "none"]
Chroma = Literal["444", "422", "420"]


@dataclass(frozen=True)
class CorpusRecipe(Checked):
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
    pyramid_px: Annotated[
        tuple[int, ...],
        Check(lambda v: list(v) == sorted({*v}) and v, "rising side lengths in pixels"),
    ] = (160, 320, 640)
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
    size_px: Positive = 224
    """Side of the square crop."""
    jpeg_quality: Annotated[int, Check(lambda v: 1 <= v <= 100, "a number from 1 to 100")] = 95
    """libjpeg quality of the crops."""
    jpeg_chroma: Chroma = "444"
    """Chroma subsampling of the crops; 4:4:4 keeps the colour of lips and irises sharp."""
    dedup: DedupRules | None = field(default_factory=DedupRules)
    """Which records show the same picture, and which of them is kept; none keeps every copy."""
    exclude: tuple[str, ...] = ()
    """Files of fingerprints and of persons that stay out, as the corpus keeps them (`--exclude`)."""
    samples_per_shard: Positive = 10_000
    """Samples in a full shard (about 300 MB)."""
    group_by: Literal["none", "identity"] = "none"
    """Which samples may share a shard: any, or those of one person of one source, so that a fold of people
    reads shards of its own."""
    inputs_per_unit: Positive = 1_000
    """Inputs scored between two done marks: what a kill can cost one worker. A unit that begins within a
    video decodes it from its start."""
    seed: Annotated[int, Check(lambda v: 0 <= v < 1 << 64, "a whole number from 0 to 2^64 - 1")] = 0
    """Key of the shuffle across sources."""
    sidecar_json: bool = False
    """Also write KEY.json (1 KB a sample) into the shards; everything in it is in the Parquet beside the
    shard."""

    def __post_init__(self) -> None:
        super().__post_init__()
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
        sources=("affectnet/validation=left_out", "casia_webface", "imdb_wiki", "celeba"),
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


@RECIPES.register("au-crops")
def action_units_crops() -> CorpusRecipe:
    """Annotated frames that others have cut already: resized alone, and no face is looked for."""
    base = action_units()
    return dataclasses.replace(
        base,
        name="au-crops",
        about="Annotated frames that were cut already (frame_list), resized alone; a shard holds one person.",
        sources=("frame_list",),
        detector="none",
        limits=Limits(**{**vars(base.limits), "min_side_px": 1}),
        align="none",
    )


def recipe(name: str) -> CorpusRecipe:
    """The recipe of that name.

    Raises:
        UserError: there is none; the message suggests the nearest.
    """
    return RECIPES.get(name)()
