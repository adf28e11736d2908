"""Any tar, tar.gz, zip or RecordIO archive of images."""

from __future__ import annotations

from collections.abc import Sequence

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import Member, Part, Source, is_archive_name
from facecorpus.sources.recordings import claims_picture


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

    def load_annotations(self) -> None:
        """Nothing is listed yet."""
        self._pictures, self._within = 0, list[str]()

    def annotate(self, record: Record, member: Member) -> None:
        """Take over the label."""
        record.identity = member.label
        self._pictures += member.label is not None or claims_picture(member.path)
        if is_archive_name(member.path):
            self._within.append(member.path)

    def finish(self) -> None:
        """Say which archives lie in it unopened.

        Raises:
            UserError: there is nothing else than archives and what goes with them.
        """
        if not self._within:
            return
        more = f" and {len(self._within) - 1} more" if len(self._within) > 1 else ""
        said = (
            f"{self.location} holds {self._within[0]}{more}: archives in an archive are not read; unpack it"
        )
        if not self._pictures:
            raise UserError(f"{said} and name those, or the folder")
        self.notes.append(said)
