"""What a corpus says of where it comes from."""

from __future__ import annotations

import json
import posixpath
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from facecorpus import schema
from facecorpus.errors import UserError
from fautrain.data.index import Corpus
from fautrain.data.shards import TABLE, filesystem, reaching


def crops(corpus: Corpus) -> dict[str, Any] | None:
    """How the corpus' crops were cut and of what (`facecorpus.schema.CROPS`); None where its table does not
    say.

    Raises:
        UserError: the table cannot be read.
    """
    folder = posixpath.dirname(corpus.shards[0].url)
    for place in (folder, posixpath.dirname(folder)):
        fs, path = filesystem(posixpath.join(place, TABLE))
        with reaching(path):
            if not fs.exists(path):
                continue
            try:
                with fs.open(path, "rb") as file:
                    found = (pq.read_schema(file).metadata or {}).get(schema.CROPS)
                return None if found is None else _object(found)
            except (pa.ArrowException, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise UserError(f"{path} cannot be read ({reason}); run 'facecorpus verify'") from error
    return None


def is_drawn(corpus: Corpus) -> bool:
    """Whether a data set says of itself that it is synthetic, so that no score says anything of real people.

    Shards whose table does not say where they come from count as real.
    """
    sources: Any = (crops(corpus) or {}).get("sources")
    origins = [source.get("origin") for source in sources or () if isinstance(source, dict)]
    return any(isinstance(origin, dict) and origin.get("synthetic") is True for origin in origins)


def _object(text: bytes) -> dict[str, Any]:
    """The JSON object in `text`; a ValueError where it holds none."""
    try:
        found: object = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested without end") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return cast(dict[str, Any], found)
