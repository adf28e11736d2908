"""What bytes are, by their first bytes and never by their name."""

from __future__ import annotations

from pathlib import PurePosixPath

from facecorpus.images.picture import NOT_AN_IMAGE, ImageError, unsupported
from facecorpus.reasons import CORRUPT, EMPTY
from facecorpus.signature import HEAD_BYTES, sniff

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
    (b"II\xbc\x01", "a JPEG XR picture"),
    (b"8BPS", "a Photoshop document"),
    (b"\0\0\x01\0", "a Windows icon"),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture (its pixels are floating-point numbers)"),
    (b"#?RADIANCE", "a Radiance picture (its pixels are floating-point numbers)"),
    (b"#?RGBE", "a Radiance picture (its pixels are floating-point numbers)"),
    (b"PF\n", "a portable float map"),
    (b"Pf\n", "a portable float map"),
    (b"DDS \x7c\0\0\0", "a DirectDraw surface"),
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def claims_image(name: str) -> bool:
    """Whether the name's extension says that this is a picture."""
    return PurePosixPath(name).suffix[1:].lower() in IMAGE_EXTENSIONS


def identify(data: bytes, name: str = "") -> str:
    """The picture's format (see `Header.format`); raises `ImageError` where the bytes begin like none."""
    if not data:
        raise ImageError(EMPTY, "the file is empty")
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
            return unsupported(seems)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return unsupported(
            "a HEIC picture", "convert it to JPEG: heif-convert, or magick mogrify -format jpg"
        )
    found = sniff(data[:HEAD_BYTES])
    if found is None:
        seems = "no known kind of picture"
    else:
        seems = f"{found.says}; {found.remedy}" if found.stands_in and found.remedy else found.says
    if claims_image(name) and "video" not in seems and not (found is not None and found.companion):
        extension = PurePosixPath(name).suffix
        return ImageError(CORRUPT, f"the name ends in {extension} but the bytes are {seems}")
    return ImageError(NOT_AN_IMAGE, f"the bytes are {seems}")
