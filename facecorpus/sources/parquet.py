"""Parquet files with pictures in them, as Hugging Face's datasets library writes them, as one source."""

from __future__ import annotations

import re
from collections.abc import Sequence

from facecorpus import storage
from facecorpus.record import Record
from facecorpus.sources.base import Member, Part, Source, adapter

_SPLIT = re.compile(r"(?:^|/)(train|test|val)(?:id|idation)?(?=[-_./])")


@adapter("parquet")
class Parquet(Source):
    """Every Parquet file below a folder, or one alone; see `archives.parquet` for the columns."""

    ids_name_containers = True

    def parts(self) -> Sequence[Part]:
        """The files, by their paths."""
        if not storage.is_dir(self.location):
            return [Part("")]
        names = [path for path, _, _ in storage.walk_files(self.location)]
        tables = [name for name in names if name.lower().endswith(".parquet")]
        if not tables:
            raise self.missing("a .parquet file")
        return [Part(name) for name in tables]

    def annotate(self, record: Record, member: Member) -> None:
        """The person, where a column says so; the split by the file's name, train-00000-of-00012.parquet."""
        record.identity = member.label
        record.split = split_of(record.container or self.location.rpartition("/")[2])


def split_of(path: str) -> str | None:
    """The split that the name of one of Hugging Face's files tells.

    >>> split_of("data/valid-00000-of-00002.parquet"), split_of("faces.parquet")
    ('val', None)
    """
    split = _SPLIT.search(path) if path.lower().endswith(".parquet") else None
    return split[1] if split else None
