"""The one door to storage: fsspec URLs (`s3://bucket/x`, `memory://x`) and plain local paths, in and out."""

from __future__ import annotations

from facecorpus.storage.places import (
    exists,
    is_dir,
    is_local,
    join,
    list_dir,
    local_path,
    open_read,
    remove,
    size,
    stamp,
)
from facecorpus.storage.publishing import clean_asides, publish
from facecorpus.storage.tables import publish_json, publish_table, read_json, read_table
from facecorpus.storage.walking import walk_files

__all__ = [
    "clean_asides",
    "exists",
    "is_dir",
    "is_local",
    "join",
    "list_dir",
    "local_path",
    "open_read",
    "publish",
    "publish_json",
    "publish_table",
    "read_json",
    "read_table",
    "remove",
    "size",
    "stamp",
    "walk_files",
]
