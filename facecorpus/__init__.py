"""Curate face corpora: archives in, verified WebDataset shards and a closed ledger out."""

from __future__ import annotations

from os import PathLike, fspath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facecorpus.opened import OpenedCorpus


def open(corpus: str | PathLike[str]) -> OpenedCorpus:
    """A built corpus to read: `open("build/corpus").webdataset()` gives its samples.

    Args:
        corpus: folder or URL of a built corpus.

    Raises:
        facecorpus.errors.UserError: there is no finished corpus.
    """
    from facecorpus.opened import open_corpus

    return open_corpus(fspath(corpus))
