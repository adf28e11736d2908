"""What is known of each data set: size, terms, availability, layout (`manifests/sources.toml`)."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from typing import Any, Literal, get_args

from facecorpus import manifests
from facecorpus.errors import UserError

Redistribution = Literal["yes", "no", "by picture", "unstated"]
PASSING_ON: dict[Redistribution, str] = {
    "yes": "crops may be passed on under these terms",
    "no": "neither pictures nor crops may be passed on",
    "by picture": "crops of pictures that bring a licence which allows it may be passed on",
    "unstated": 'crops may not be passed on, unless its origin.json says {"redistributable": true}',
}
"""What each `Facts.redistribution` means."""


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
    redistribution: Redistribution = "unstated"
    """Whether crops may be passed on, as far as the terms say; see `PASSING_ON`."""
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

    def __post_init__(self) -> None:
        """Refuse another word for `redistribution`."""
        known = get_args(Redistribution)
        if self.redistribution not in known:
            words = f"{', '.join(known[:-1])} or {known[-1]}"
            raise UserError(f"{self.name}: redistribution is {self.redistribution!r}; give {words}")


@functools.cache
def facts() -> dict[str, Facts]:
    """Everything in `sources.toml`, by name, in the order of the file."""
    text = (manifests.folder() / "sources.toml").read_text("utf-8")
    sections: dict[str, dict[str, Any]] = tomllib.loads(text)
    return {name: Facts(name=name, **fields) for name, fields in sections.items()}
