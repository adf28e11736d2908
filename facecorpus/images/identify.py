"""What bytes are, by their first bytes and never by their name."""

from __future__ import annotations

from pathlib import PurePosixPath

from facecorpus.images.picture import ImageError
from facecorpus.record import Reason

IMAGE_EXTENSIONS = frozenset(
    (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff", "avif"),
        *("jp2", "j2k", "jpx", "ppm", "pgm", "pbm", "pnm", "heic", "heif", "jxl"),
    )
)
"""Extensions that claim to be a picture."""

_STARTS = (
    (b"\xff\xd8", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
)
WEAK = frozenset(("bmp", "ppm"))
"""Formats whose magic is so short that ordinary text may begin with it."""

_UNDECODABLE = (
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
    (b"8BPS", "a Photoshop document"),
    (b"\0\0\x01\0", "a Windows icon"),
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_VIDEOS = (
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (b"\0\0\x01\xba", "an MPEG video"),
    (b"\0\0\x01\xb3", "an MPEG video"),
    (b"FLV\x01", "a Flash video"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media video"),
)
_QUICKTIME_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_OTHER = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file it stands for"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "bzip2-compressed data"),
    (b"\xfd7zXZ", "xz-compressed data"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PAR1", "a Parquet file"),
    (b"%!PS", "a PostScript document"),
)


def claims_image(name: str) -> bool:
    """Whether the name's extension says that this is a picture."""
    return PurePosixPath(name).suffix[1:].lower() in IMAGE_EXTENSIONS


def identify(data: bytes, name: str = "") -> str:
    """The picture's format (see `Header.format`); raises `ImageError` where the bytes begin like none."""
    if not data:
        raise ImageError(Reason.EMPTY, "the file is empty")
    head = data[:32]
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in b" \t\r\n#" and len(head) > 2:
        return "ppm"
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        return "avif"
    if head[4:8] == b"ftyp" and head[8:12] in (b"mif1", b"msf1") and b"avif" in data[16:64]:
        return "avif"
    raise _not_a_picture(data, name)


def _not_a_picture(data: bytes, name: str) -> ImageError:
    head = data[:32]
    for start, seems in _UNDECODABLE:
        if head.startswith(start):
            return _undecodable(seems)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return _undecodable("a HEIC picture")
    if head[4:8] == b"ftyp" or head[4:8] in _QUICKTIME_ATOMS:
        return ImageError(Reason.NOT_AN_IMAGE, "the bytes are an MP4 or QuickTime video")
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return ImageError(Reason.NOT_AN_IMAGE, "the bytes are an AVI video")
    for start, seems in _VIDEOS:
        if head.startswith(start):
            return ImageError(Reason.NOT_AN_IMAGE, f"the bytes are {seems}")
    if claims_image(name):
        extension = PurePosixPath(name).suffix
        return ImageError(Reason.CORRUPT, f"the name ends in {extension} but the bytes are {_seems(data)}")
    return ImageError(Reason.NOT_AN_IMAGE, f"the bytes are {_seems(data)}")


def _undecodable(seems: str) -> ImageError:
    return ImageError(
        Reason.CORRUPT, f"the bytes are {seems}, which no codec here decodes; convert it to JPEG or PNG"
    )


def _seems(data: bytes) -> str:
    """A guess in words at bytes that are no picture."""
    for start, seems in _OTHER:
        if data.startswith(start):
            return seems
    text = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")) or (text.startswith(b"<") and b"<html" in text):
        return "an HTML page"
    if text.startswith((b"<?xml", b"<svg", b"<")) and b"<svg" in text:
        return "an SVG drawing"
    if text.startswith((b"<?xml", b"<error")):
        return "an XML document"
    if text.startswith((b"{", b"[")):
        return "JSON text"
    if not data[:4096].strip(b"\0"):
        return "a run of zero bytes"
    if not data[:1024].translate(None, bytes(range(32, 256)) + b"\t\n\r\f"):
        return "text"
    return "no known kind of picture"
