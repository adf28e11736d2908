"""What a file is, by its first bytes and never by its name.

The one place that knows what is no picture, archive or file of weights, and what its holder can do about it;
`facecorpus` and `fautrain` both ask here.
"""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 4096
"""How much of a file `sniff` wants to see, where there is as much."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What bytes are, in words."""

    says: str
    """With its article, so that it stands after "is" or "are": "an HTML page"."""
    remedy: str | None = None
    """What to do where it lies in another file's place, "{0}" standing for its path; None where nothing
    general helps."""
    stands_in: bool = False
    """It was put in the place of the file that was meant (a web page, a pointer), so that its name tells
    nothing."""
    unpacks: bool = False
    """It is an archive or compressed file that is not read as it is; `remedy` unpacks it."""
    companion: bool = False
    """An operating system's own file beside a real one, whose name it borrows."""


_STARTS = (
    (
        b"version https://git-lfs",
        Signature("a Git LFS pointer, not the file it stands for", "run 'git lfs pull' there", True),
    ),
    (b"\x1a\x45\xdf\xa3", Signature("a Matroska or WebM video")),
    (b"\0\0\x01\xba", Signature("an MPEG video")),
    (b"\0\0\x01\xb3", Signature("an MPEG video")),
    (b"FLV\x01", Signature("a Flash video")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Signature("a Windows Media video")),
    (b"\xff\xd8\xff", Signature("a JPEG picture")),
    (b"\x89PNG\r\n\x1a\n", Signature("a PNG picture")),
    (b"GIF8", Signature("a GIF picture")),
    (b"%PDF", Signature("a PDF document")),
    (b"%!PS", Signature("a PostScript document")),
    (b"8BPS", Signature("a Photoshop document")),
    (b"PK\x03\x04", Signature("a ZIP archive")),
    (b"PK\x05\x06", Signature("an empty ZIP archive")),
    (
        b"PK\x07\x08",
        Signature("a part of a ZIP archive split into several files", "join the parts: zip -s 0"),
    ),
    (b"\x1f\x8b", Signature("gzip-compressed data", "decompress it: gzip -dk {0}")),
    (
        b"7z\xbc\xaf\x27\x1c",
        Signature("a 7-Zip archive", "unpack it: 7z x {0}, and give the folder", unpacks=True),
    ),
    (b"Rar!", Signature("a RAR archive", "unpack it: unrar x {0}, and give the folder", unpacks=True)),
    (b"BZh", Signature("bzip2-compressed data", "decompress it: bzip2 -dk {0}", unpacks=True)),
    (b"\xfd7zXZ", Signature("xz-compressed data", "decompress it: xz -dk {0}", unpacks=True)),
    (b"\x28\xb5\x2f\xfd", Signature("zstd-compressed data", "decompress it: zstd -d {0}", unpacks=True)),
    (b"\0\x05\x16\x07", Signature("macOS's notes on another file (AppleDouble)", companion=True)),
    (b"\x93NUMPY", Signature("a NumPy array")),
    (b"\x89HDF", Signature("an HDF5 file")),
    (b"PAR1", Signature("a Parquet file")),
)
_QUICKTIME_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_HTML = Signature(
    "an HTML page (a login or error page, or Google Drive's question, in place of the file)",
    "download it again in a browser",
    True,
)


def sniff(head: bytes) -> Signature | None:
    """What a file that begins with `head` (`HEAD_BYTES` suffice) is; None where it is no kind known here.

    >>> sniff(b"version https://git-lfs.github.com/spec/v1").remedy
    "run 'git lfs pull' there"
    >>> sniff(b"<!DOCTYPE html><title>Google Drive - Virus scan warning</title>").stands_in
    True
    """
    for start, signature in _STARTS:
        if head.startswith(start):
            return signature
    if head[4:8] == b"ftyp" or head[4:8] in _QUICKTIME_ATOMS:
        return Signature("an MP4 or QuickTime video")
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return Signature("an AVI video")
    return _text(head)


def _text(head: bytes) -> Signature | None:
    text = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")) or (text.startswith(b"<") and b"<html" in text):
        return _HTML
    if text.startswith((b"<?xml", b"<svg", b"<")) and b"<svg" in text:
        return Signature("an SVG drawing")
    if text.startswith((b"<?xml", b"<error")):
        return Signature("an XML document (a storage's error message, in place of the file)", stands_in=True)
    if text.startswith((b"{", b"[")):
        return Signature("JSON text")
    if head and not head[:4096].strip(b"\0"):
        return Signature("a run of zero bytes", "the copy or download was interrupted: fetch it again")
    if head and not head[:1024].translate(None, bytes(range(32, 256)) + b"\t\n\r\f"):
        return Signature("text")
    return None
