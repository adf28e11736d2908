"""Any folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import Member, Part, Source, is_archive_name
from facecorpus.sources.recordings import claims_picture


class Folder(Source):
    """Every file below a folder. Who is shown is not known."""

    adapter = "folder"

    def parts(self) -> Sequence[Part]:
        """The folder itself."""
        return [Part("")]

    def load_annotations(self) -> None:
        """Nothing is listed yet."""
        self._pictures, self._archives = 0, list[str]()

    def annotate(self, record: Record, member: Member) -> None:
        """Count what is there, by name."""
        self._pictures += claims_picture(member.path)
        if is_archive_name(member.path):
            self._archives.append(member.path)

    def finish(self) -> None:
        """Say which archives lie there unopened.

        Raises:
            UserError: there is nothing else than archives and what goes with them.
        """
        if not self._archives:
            return
        specs = ",".join(f"{self.name}{n}={self._spec(path)}" for n, path in enumerate(self._archives[:4]))
        more = ",..." if len(self._archives) > 4 else ""
        count = len(self._archives)
        what = f"{count} {'archive' if count == 1 else 'archives'}, which {self.adapter} does not open"
        said = f"{self.location} holds {what}: name them, --sources {specs}{more}"
        # img2dataset leaves a Parquet and a JSON file beside each tar, InsightFace an index and a list.
        if not self._pictures:
            raise UserError(said)
        self.notes.append(said)

    def _spec(self, path: str) -> str:
        place = storage.join(self.location, path)
        return f"archive:{place if '://' in place else Path(place).absolute()}"
