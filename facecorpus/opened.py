"""A built corpus, to read: its shards by name, its manifests as one table, its samples through webdataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from facecorpus import schema, storage
from facecorpus.errors import UserError


@dataclass(frozen=True, slots=True)
class OpenedCorpus:
    """What `facecorpus.open` gives."""

    url: str
    """Folder or URL of the corpus."""
    table: pa.Table
    """`schema.SHARDS`: one row per shard."""

    def __len__(self) -> int:
        """Number of samples."""
        return sum(self.table.column("samples").to_pylist())

    @property
    def shards(self) -> list[str]:
        """Paths or URLs of the tars, in order."""
        return [storage.join(self.url, "shards", name) for name in self.table.column("shard").to_pylist()]

    def manifest(self) -> pa.Table:
        """One row per sample (`schema.MANIFEST`), in the order of the tars."""
        tables = [storage.read_table(shard.removesuffix(".tar") + ".parquet") for shard in self.shards]
        return pa.concat_tables(tables) if tables else schema.MANIFEST.empty_table()

    def webdataset(self, **options: Any) -> Any:
        """The samples through stock webdataset: `WebDataset(shards, **options)`, a pipeline to go on with.

        Args:
            options: webdataset's; `shardshuffle` is False unless given.

        Raises:
            UserError: webdataset is not installed, or cannot read the corpus from where it lies.
        """
        try:
            import webdataset  # pyright: ignore[reportMissingTypeStubs]
        except ImportError as error:
            raise UserError("webdataset is not installed; run: pip install webdataset") from error
        shards = self.shards
        if not all(storage.is_local(shard) for shard in shards):
            raise UserError(f"{self.url} is no local folder; give its shards to webdataset as pipe: URLs")
        made: Any = vars(webdataset)["WebDataset"]  # as the package exports it, unknown to type checkers
        return made([str(storage.local_path(s)) for s in shards], **{"shardshuffle": False, **options})


def open_corpus(corpus: str) -> OpenedCorpus:
    """Open a built corpus.

    Args:
        corpus: its folder or URL.

    Raises:
        UserError: there is no finished corpus.
    """
    url = storage.absolute(corpus)
    table = storage.join(url, "shards.parquet")
    if not storage.exists(table):
        raise UserError(f"{corpus} has no shards.parquet, so it is no finished corpus; build it first")
    return OpenedCorpus(url, storage.read_table(table))
