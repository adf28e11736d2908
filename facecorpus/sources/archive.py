"""Any tar, tar.gz, zip or RecordIO archive of images."""

from __future__ import annotations

from collections.abc import Sequence

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import Member, Part, Source


class Archive(Source):
    """Every file in one archive. Who is shown is known only where the archive stores a label (RecordIO)."""

    adapter = "archive"

    def parts(self) -> Sequence[Part]:
        """The archive itself."""
        if storage.is_dir(self.location):
            raise UserError(
                f"{self.location} is a folder; use folder:{self.location}, or name an archive in it"
            )
        return [Part("")]

    def annotate(self, record: Record, member: Member) -> None:
        """Take over the label."""
        record.identity = member.label
