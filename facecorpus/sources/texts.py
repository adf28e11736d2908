"""Text files of data sets: annotations and labels, whatever else may lie in their place."""

from __future__ import annotations

import codecs

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.signature import HEAD_BYTES, sniff

_LIMIT_BYTES = 1 << 30
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(url: str) -> str:
    """The text of a file (UTF-8, or UTF-16 with its mark); bytes that are no text become U+FFFD.

    Raises:
        UserError: it is no text: a web page or pointer in its place, an archive, a picture; or it is huge.
    """
    data = read_bytes(url)
    if data.startswith(_UTF16):
        return data.decode("utf-16", "replace")
    check_text(url, data[:HEAD_BYTES])
    return data.decode("utf-8-sig", "replace")


def read_bytes(url: str) -> bytes:
    """The bytes of a file of annotations or labels.

    Raises:
        UserError: it cannot be read, or is far too large to be one.
    """
    try:
        size = storage.size(url)
        if size > _LIMIT_BYTES:
            raise UserError(f"{url} has {size:,} bytes, far too many for annotations; get the file again")
        with storage.open_read(url) as stream:
            return stream.read()
    except OSError as error:
        raise UserError(f"{url} cannot be read ({error.strerror or error}); mend its permissions") from error


def check_text(url: str, head: bytes) -> None:
    """Refuse a file whose first bytes are not those of a text.

    Raises:
        UserError: what it is instead, and the remedy.
    """
    found = sniff(head)
    if found is None and b"\0" in head.rstrip(b"\0"):
        raise UserError(f"{url} is no text file, as its first bytes show; get the file again")
    if found is not None and not (found.says in ("text", "JSON text") or not head.strip(b"\0")):
        remedy = (found.remedy or "get the file again").format(url)
        raise UserError(f"{url} is {found.says}, and no text file; {remedy}")
