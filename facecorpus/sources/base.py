"""All that the rest of the package, and an adapter, needs of `sources`.

An adapter is a module of this package with one subclass of `Source`, whose `adapter` is the module's name. It
says where the containers and annotation files lie below the source's location, and fills in what the data set
knows of an input:

    class Mugshots(Source):
        adapter = "mugshots"

        def parts(self):
            return [Part("mugshots.zip")]

        def annotate(self, record, member):
            record.identity = record.member.split("/")[0]

A data set of annotated videos is a subclass of `labelled.Labelled` instead, and sorts its files by name.

What `facecorpus sources` says of it, and the layout that error messages name, is a section of
`manifests/sources.toml`.
"""

from __future__ import annotations

from facecorpus.sources.archives import InputError, Member, is_archive_name
from facecorpus.sources.facts import Facts, facts
from facecorpus.sources.recordings import listed
from facecorpus.sources.registry import adapters, describe, make_source, parse_spec, source_class
from facecorpus.sources.source import Part, Reader, RepeatedIdsError, Source, lies_there, stamp_of

__all__ = [
    "Facts",
    "InputError",
    "Member",
    "Part",
    "Reader",
    "RepeatedIdsError",
    "Source",
    "adapters",
    "describe",
    "facts",
    "is_archive_name",
    "lies_there",
    "listed",
    "make_source",
    "parse_spec",
    "source_class",
    "stamp_of",
]
