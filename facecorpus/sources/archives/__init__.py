"""Containers of inputs (folders, tar, tar.gz, zip, RecordIO), listed and read in place, never unpacked."""

from __future__ import annotations

from facecorpus.sources.archives.container import Container, Member, printable
from facecorpus.sources.archives.opening import is_archive_name, open_container
from facecorpus.sources.archives.recordio import index_beside

__all__ = ["Container", "Member", "index_beside", "is_archive_name", "open_container", "printable"]
