"""The one door to storage: fsspec URLs (`s3://bucket/x`, `memory://x`) and plain local paths, in and out."""

from __future__ import annotations

from facecorpus.storage.places import (
    absolute,
    exists,
    is_dir,
    is_local,
    is_within,
    join,
    list_dir,
    local_path,
    open_read,
    remove,
    sha256,
    size,
    stamp,
)
from facecorpus.storage.publishing import clean_asides, publish, stands_for
from facecorpus.storage.tables import (
    holds_json,
    json_bytes,
    publish_json,
    read_json,
    read_row_groups,
    read_rows,
    read_table,
    whole_parquet,
)
from facecorpus.storage.walking import walk_files

__all__ = [
    "absolute",
    "clean_asides",
    "exists",
    "holds_json",
    "is_dir",
    "is_local",
    "is_within",
    "join",
    "json_bytes",
    "list_dir",
    "local_path",
    "open_read",
    "publish",
    "publish_json",
    "read_json",
    "read_row_groups",
    "read_rows",
    "read_table",
    "remove",
    "sha256",
    "size",
    "stamp",
    "stands_for",
    "walk_files",
    "whole_parquet",
]
