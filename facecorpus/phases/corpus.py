"""What every phase needs to know about the corpus being built, and the check that it is still the same
corpus."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from facecorpus import schema, storage, units
from facecorpus.errors import UserError
from facecorpus.faces.weights import LIGHTEST
from facecorpus.recipes import CorpusRecipe
from facecorpus.sources.base import Source, make_source
from facecorpus.typed import build, to_plain

CONFIG = "corpus.json"
INDEXES = "inventory/index"
_LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "simplejpeg")
"""Those that the bytes of a crop depend on."""
_AFTER_SCORING = (
    "name",
    "about",
    "sources",
    "dedup",
    "exclude",
    "samples_per_shard",
    "group_by",
    "seed",
    "sidecar_json",
)
"""Values of a recipe that no scored row and no crop depends on."""
_NOTED = ("pyarrow",)
"""Those that only write the tables: an update is recorded, and nothing is done again for it."""


@dataclass(frozen=True)
class SourceSpec:
    """A source by name, adapter and place: enough for a worker process to open it."""

    name: str
    adapter: str
    location: str
    setting: str = ""
    """What was said of this copy of the data set, as NAME=VALUE."""
    origin: dict[str, Any] | None = field(default=None, compare=False)
    """What its `origin.json` says, where it has one."""
    terms: str | None = field(default=None, compare=False)
    """Its owners' terms, where they are known."""
    redistributable: bool = field(default=False, compare=False)
    """Whether crops may be passed on where a picture has no licence of its own."""

    def open(self, out: str) -> Source:
        """The source itself; indexes of compressed archives are kept in the corpus."""
        return make_source(self.adapter, self.name, self.location, storage.join(out, INDEXES), self.setting)


@dataclass(frozen=True)
class Corpus:
    """A corpus under construction. Plain data, so that it travels to worker processes."""

    out: str
    """Folder or URL of the corpus."""
    recipe: CorpusRecipe
    sources: tuple[SourceSpec, ...]
    detector: str
    """The detector in use (`auto` resolved)."""
    detector_build: str
    """Hash of the weights, runtime, provider and the processor's kernels."""
    weights: str | None = None
    """`--weights`, where given."""
    device: str = "auto"
    libraries: tuple[tuple[str, str], ...] = ()
    """Versions of the libraries it was made with, where those are not the ones here; see `as_recorded`."""

    def model(self) -> str:
        """The detector that runs: `given` confirms the source's own landmarks with the lightest."""
        return LIGHTEST if self.detector == "given" else self.detector

    def config(self) -> dict[str, Any]:
        """What `corpus.json` holds: everything the bytes of the corpus depend on, and where the sources
        were."""
        return {
            "schema": schema.VERSION,
            "recipe": to_plain(self.recipe),
            "detector": self.detector,
            "detector_build": self.detector_build,
            "libraries": dict(self.libraries)
            or {name: importlib.metadata.version(name) for name in _LIBRARIES + _NOTED},
            "sources": [vars(source) for source in self.sources],
        }

    def score_digest(self) -> str:
        """Digest of what a scored row depends on besides its input."""
        config = self.config()
        for name in _AFTER_SCORING:
            del config["recipe"][name]
        for name in _NOTED:
            del config["libraries"][name]
        return units.digest({**config, "sources": None})

    def crops(self) -> bytes:
        """What `schema.CROPS` holds."""
        from facecorpus.faces.align import template_px  # here, as it loads OpenCV

        recipe = to_plain(self.recipe)
        for name in _AFTER_SCORING:
            del recipe[name]
        points = None
        if self.recipe.align == "similarity":
            points = template_px(self.recipe.template, self.recipe.size_px).round(3).tolist()
        told = ("name", "adapter", "terms", "redistributable", "origin")
        sources = [{name: getattr(source, name) for name in told} for source in self.sources]
        found = {
            "recipe": recipe,
            "points_px": points,
            "detector": self.detector,
            "detector_build": self.detector_build,
            "sources": sources,
        }
        return json.dumps(found, sort_keys=True).encode()


def load(out: str) -> Corpus:
    """The corpus at `out`, as its `corpus.json` describes it.

    Raises:
        UserError: there is no corpus, its `corpus.json` is damaged, or another version of the tool wrote it.
    """
    url = storage.join(out, CONFIG)
    if not storage.exists(url):
        raise UserError(
            f"{out} holds no corpus ({CONFIG} is missing); build one with 'facecorpus build --out {out}'"
        )
    config = _read(out)
    if config.get("schema") != schema.VERSION:
        raise UserError(
            f"{url} has schema {config.get('schema')}, this version reads {schema.VERSION}; "
            "use the version of facecorpus that built it, or build it again in another --out"
        )
    try:
        sources = tuple(SourceSpec(**source) for source in config["sources"])
        recipe = build(CorpusRecipe, config["recipe"])
        return Corpus(out, recipe, sources, config["detector"], config["detector_build"])
    except UserError as error:  # a value of which another version, or a plug-in, may know
        raise UserError(f"{url}: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(out) from error


def _read(out: str) -> dict[str, Any]:
    """What `corpus.json` holds.

    Raises:
        UserError: it is not what `settle` writes.
    """
    try:
        config = storage.read_json(storage.join(out, CONFIG))
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or not {"schema", "recipe", "sources"} <= config.keys():
        raise _damaged(out)
    return config


def _damaged(out: str) -> UserError:
    url = storage.join(out, CONFIG)
    if units.has_record(out, "inventory"):
        return UserError(
            f"{url} is damaged; run the command that built the corpus again with --rebuild, which writes it "
            "anew and keeps what still fits"
        )
    return UserError(f"{url} was not written by facecorpus; choose another --out")


def as_recorded(corpus: Corpus) -> Corpus:
    """The corpus with the library versions that its `corpus.json` records: to check it, not to go on with.

    Raises:
        UserError: it is not, to the last byte, as `settle` wrote it.
    """
    with storage.open_read(storage.join(corpus.out, CONFIG)) as file:
        config = units.unsealed(file.read())
    if config is None:
        raise UserError(f"{CONFIG} is not as facecorpus wrote it")
    return replace(corpus, libraries=tuple(sorted(config["libraries"].items())))


def settle(corpus: Corpus, *, rebuild: bool) -> None:
    """Write `corpus.json`, refusing to turn an existing corpus into another one by accident, or to begin
    among files that are not the corpus's own.

    Raises:
        UserError: `out` is neither empty nor a corpus; or the corpus there was made with another recipe,
            detector or library version, or lacks one of its sources now, and `rebuild` is not set.
    """
    url = storage.join(corpus.out, CONFIG)
    config = units.sealed(corpus.config())
    if storage.holds_json(url, config):
        return
    if not storage.exists(url):
        _refuse_others(corpus.out)
    elif not rebuild:
        changed = _differences(_read(corpus.out), config)
        if changed:
            raise UserError(
                f"{corpus.out} was built differently ({'; '.join(changed)}); add --rebuild to redo the parts "
                "that this touches, or choose another --out"
            )
    elif not units.has_record(corpus.out, "inventory"):
        _read(corpus.out)  # a damaged one is written anew only where the records say that it was ours
    storage.publish_json(url, config)


def _refuse_others(out: str) -> None:
    """Refuse a place that holds anything, save what a kill before the first file left there.

    Raises:
        UserError: it does, or it is a file.
    """
    if not storage.is_dir(out):
        if storage.exists(out):
            raise UserError(f"--out {out} is a file; give the name of a folder")
        return
    found = [
        name for name in storage.list_dir(out) if name != "lost+found/" and storage.stands_for(name) != CONFIG
    ]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise UserError(
            f"--out {out} holds {', '.join(found[:3])}{more} and is no corpus; give an empty or a new folder"
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    gone = {s["name"] for s in before.get("sources", [])} - {s["name"] for s in now["sources"]}
    found = [f"source {name} is no longer named" for name in sorted(gone)]
    old, new = _flat({**before, "sources": None}), _flat({**now, "sources": None})
    ignored = {"recipe.about", units.SEAL, *(f"libraries.{name}" for name in _NOTED)} | {
        key for key in old | new if key.startswith("recipe.sources")
    }
    for key in sorted((old.keys() | new.keys()) - ignored):
        if old.get(key) != new.get(key):
            found.append(f"{key} was {old.get(key)} and is {new.get(key)}")
    return found


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        items = ((f"{path}.{key}" if path else str(key), item) for key, item in value.items())
        return {key: leaf for name, item in items for key, leaf in _flat(item, name).items()}
    return {path: value}
