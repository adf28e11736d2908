"""The headers of an uncompressed tar, whatever its bytes.

tarfile believes what a header says: it would hold a name of 8 GB in memory, and goes back in the file, for
ever, where a size is negative. Both packages read other people's tars; what may be believed is stated here.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, ClassVar, Final

_RECORDS: Final = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
"""Types of headers that extend the next one; tarfile reads them whole."""


class BoundedHeader(tarfile.TarInfo):
    """A header whose numbers can be true."""

    largest_record: ClassVar[int] = 1 << 22
    """Bytes of a header that extends the next, at most."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> BoundedHeader:
        """The header in a block.

        Raises:
            tarfile.HeaderError: it is none, or its size cannot be true.
        """
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _RECORDS and header.size > cls.largest_record):
            raise tarfile.HeaderError(f"a header says a size of {header.size} bytes")
        return header


def open_tar(stream: BinaryIO, header: type[BoundedHeader] = BoundedHeader) -> tarfile.TarFile:
    """A tar to list by `headers`. Raises what tarfile does of a first header that is none."""
    return tarfile.TarFile(fileobj=stream, tarinfo=header)


def headers(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The headers up to what tarfile takes for the end mark; `tar.offset` is then where that should be.

    Raises:
        tarfile.ReadError: one leads backwards; and what tarfile raises of damaged bytes, of a dozen kinds.
    """
    following: Callable[[], tarfile.TarInfo | None] = tar.next
    seen: list[tarfile.TarInfo] = vars(tar)["members"]
    before = -1
    while (header := following()) is not None:
        seen.clear()  # tarfile keeps every header it has met: gigabytes for millions of members
        if tar.offset <= before or header.size < 0:
            raise tarfile.ReadError(f"the header before byte {tar.offset} leads backwards")
        before = tar.offset
        yield header
