"""What is known of each data set: size, terms, availability, layout (`manifests/sources.toml`)."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from typing import Any

from facecorpus import manifests


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One section of `sources.toml`, whether or not an adapter reads the data set."""

    name: str
    """Name of the section, and of the adapter where there is one."""
    title: str
    layout: str
    """The files expected below the source's location, one per line."""
    terms: str
    """Licence and conditions, in a sentence."""
    availability: str
    """Where it can be had, if anywhere."""
    images: int | None = None
    identities: int | None = None
    bytes: int | None = None
    """Size of the published files."""
    pixels: str | None = None
    """Typical size of an image."""
    caution: str | None = None
    """What goes wrong with it, and what to do."""
    url: str | None = None
    """The project's own page."""
    citation: str | None = None
    evaluation_only: bool = False
    """Meant for testing: it should not be trained on."""


@functools.cache
def facts() -> dict[str, Facts]:
    """Everything in `sources.toml`, by name, in the order of the file."""
    text = (manifests.folder() / "sources.toml").read_text("utf-8")
    sections: dict[str, dict[str, Any]] = tomllib.loads(text)
    return {name: Facts(name=name, **fields) for name, fields in sections.items()}
