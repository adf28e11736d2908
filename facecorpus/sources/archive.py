"""Any tar, tar.gz, zip or RecordIO archive of images."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.sources.base import Drawn, Layout, Part, adapter
from facecorpus.sources.plain import Plain


@adapter("archive")
class Archive(Plain):
    """Every file in one archive. Who is shown is known only where the archive stores a label (RecordIO)."""

    def parts(self) -> Sequence[Part]:
        """The archive itself."""
        if storage.is_dir(self.location):
            raise UserError(
                f"{self.location} is a folder; use folder:{self.location}, or name an archive in it"
            )
        return super().parts()

    def unopened(self, archives: Sequence[str]) -> tuple[str, str]:
        """With the first one's name."""
        more = f" and {len(archives) - 1} more" if len(archives) > 1 else ""
        said = f"{self.location} holds {archives[0]}{more}: archives in an archive are not read; unpack it"
        return said, " and name those, or the folder"

    @staticmethod
    def lay_out(drawn: Sequence[Drawn]) -> Layout:
        """`pictures.zip`, a folder in it for each person."""
        names = [f"pictures/{d.person}/{d.number}.jpg" for d in drawn]
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, each in zip(names, drawn, strict=True):
                archive.writestr(zipfile.ZipInfo(name), each.data)
        return Layout([(name, None) for name in names], {"pictures.zip": file.getvalue()})
