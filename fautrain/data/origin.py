"""What a corpus says of where it comes from."""

from __future__ import annotations

import json
import posixpath
from typing import Any

from fautrain.data.index import Corpus
from fautrain.data.shards import filesystem, reaching

CONFIG = "corpus.json"


def is_drawn(corpus: Corpus) -> bool:
    """Whether any source of the corpus holds drawn people, so that no score says anything of real ones.

    `facecorpus build` notes it in `corpus.json`; shards without that file count as real.
    """
    folder = posixpath.dirname(corpus.shards[0].url)
    for place in (folder, posixpath.dirname(folder)):
        fs, path = filesystem(posixpath.join(place, CONFIG))
        with reaching(path):
            if fs.exists(path):
                config: dict[str, Any] = json.loads(fs.cat_file(path))
                return bool(config.get("drawn"))
    return False
