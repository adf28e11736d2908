"""All that the rest of the package, and an adapter, needs of `sources`.

An adapter is a module of this package, or one that FACE_PLUGINS names, with a subclass of `Source`. It says
where the containers and annotation files lie below the source's location, and fills in what the data set
knows of an input:

    @adapter("mugshots")
    class Mugshots(Source):
        def parts(self):
            return [Part("mugshots.zip")]

        def annotate(self, record, member):
            record.identity = record.member.split("/")[0]

A data set of annotated videos is a subclass of `labelled.Labelled` instead, and sorts its files by name.

What `facecorpus sources` says of it, and the layout that error messages name, is a section of
`manifests/sources.toml`; one that FACE_PLUGINS brings gives `adapter` the same fields.
"""

from __future__ import annotations

from facecorpus.sources.archives import ORIGIN, InputError, Member, is_archive_name
from facecorpus.sources.drawn import Drawn, Layout
from facecorpus.sources.facts import PASSING_ON, Facts, facts
from facecorpus.sources.recordings import listed
from facecorpus.sources.registry import describe, make_source, parse_spec
from facecorpus.sources.source import (
    SOURCES,
    Part,
    Reader,
    RepeatedIdsError,
    Source,
    adapter,
    lies_there,
    stamp_of,
)

__all__ = [
    "ORIGIN",
    "PASSING_ON",
    "SOURCES",
    "Drawn",
    "Facts",
    "InputError",
    "Layout",
    "Member",
    "Part",
    "Reader",
    "RepeatedIdsError",
    "Source",
    "adapter",
    "describe",
    "facts",
    "is_archive_name",
    "lies_there",
    "listed",
    "make_source",
    "parse_spec",
    "stamp_of",
]
