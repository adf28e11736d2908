"""Any folder of images."""

from __future__ import annotations

from collections.abc import Sequence

from facecorpus.sources.base import Part, Source


class Folder(Source):
    """Every file below a folder. Who is shown is not known."""

    adapter = "folder"

    def parts(self) -> Sequence[Part]:
        """The folder itself."""
        return [Part("")]
