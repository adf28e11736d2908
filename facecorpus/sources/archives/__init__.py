"""Containers of inputs (folders, tar, tar.gz, zip, RecordIO, videos), read in place, never unpacked."""

from __future__ import annotations

from facecorpus.sources.archives.container import (
    BAD_NAME,
    MISSING_FRAME,
    Container,
    InputError,
    Member,
    printable,
)
from facecorpus.sources.archives.folder import ORIGIN
from facecorpus.sources.archives.opening import ARCHIVE_ENDINGS, is_archive_name, open_container
from facecorpus.sources.archives.recordio import index_beside
from facecorpus.sources.archives.sevenzip import seven_zip_parts
from facecorpus.sources.archives.video import VIDEO, VideoContainer, frame_name, is_video_name

__all__ = [
    "ARCHIVE_ENDINGS",
    "BAD_NAME",
    "MISSING_FRAME",
    "ORIGIN",
    "VIDEO",
    "Container",
    "InputError",
    "Member",
    "VideoContainer",
    "frame_name",
    "index_beside",
    "is_archive_name",
    "is_video_name",
    "open_container",
    "printable",
    "seven_zip_parts",
]
