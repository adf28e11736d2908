"""What sources of any images have in common: archives among them lie there unopened."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from facecorpus.errors import UserError
from facecorpus.record import Record
from facecorpus.sources.base import Member, Part, Source, is_archive_name
from facecorpus.sources.recordings import claims_picture


class Plain(Source):
    """Every file at the location."""

    def parts(self) -> Sequence[Part]:
        """The location itself."""
        return [Part("")]

    def load_annotations(self) -> None:
        """Nothing is listed yet."""
        self._pictures, self._archives = 0, list[str]()

    def annotate(self, record: Record, member: Member) -> None:
        """Take over the label, where the container stores one; count what is there, by name."""
        record.identity = member.label
        self._pictures += member.label is not None or claims_picture(member.path)
        if is_archive_name(member.path):
            self._archives.append(member.path)

    @abstractmethod
    def unopened(self, archives: Sequence[str]) -> tuple[str, str]:
        """What is said of archives among the files, and how it ends where there is nothing else."""

    def finish(self) -> None:
        """Say which archives lie there unopened.

        Raises:
            UserError: there is nothing else than archives and what goes with them (img2dataset leaves a
                Parquet and a JSON file beside each tar, InsightFace an index and a list).
        """
        if not self._archives:
            return
        said, remedy = self.unopened(self._archives)
        if not self._pictures:
            raise UserError(said + remedy)
        self.notes.append(said)
