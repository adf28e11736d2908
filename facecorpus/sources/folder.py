"""Any folder of images."""

from __future__ import annotations

from collections.abc import Sequence

from facecorpus import storage
from facecorpus.sources.plain import Plain
from facecorpus.sources.source import adapter


@adapter("folder")
class Folder(Plain):
    """Every file below a folder. Who is shown is not known."""

    def unopened(self, archives: Sequence[str]) -> tuple[str, str]:
        """With the specs to type."""
        places = (storage.absolute(storage.join(self.location, path)) for path in archives[:4])
        specs = ",".join(f"{self.name}{n}=archive:{place}" for n, place in enumerate(places))
        more = ",..." if len(archives) > 4 else ""
        count = f"{len(archives)} {'archive' if len(archives) == 1 else 'archives'}"
        what = f"{count}, which {self.adapter} does not open"
        return f"{self.location} holds {what}: name them, --sources {specs}{more}", ""
