"""What bytes are, and the pixels of every format."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facecorpus.images import Header, ImageError, decode, read_header
from facecorpus.images.exif import orientation_of

WIDTH, HEIGHT = 60, 40


def scene() -> np.ndarray:
    """A smooth picture, (40, 60, 3) uint8, different under every turn and mirroring."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 4, y * 6, 255 - x * 2 - y * 3], axis=-1).astype(np.uint8)


def encoded(kind: str, image: np.ndarray | Image.Image | None = None, **options: Any) -> bytes:
    image = scene() if image is None else image
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def pixels(data: bytes) -> np.ndarray:
    picture = decode(data, read_header(data))
    assert picture.rgb.dtype == np.uint8
    assert picture.rgb.shape == (picture.header.height_px, picture.header.width_px, 3)
    assert picture.rgb.flags.c_contiguous
    assert picture.rgb.flags.writeable
    assert picture.scale == 1.0
    return picture.rgb


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "bmp": ("BMP", {}),
    "ppm": ("PPM", {}),
    "tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "webp": ("WEBP", {"lossless": True}),
    "jp2": ("JPEG2000", {}),
    "gif": ("GIF", {}),
    "avif": ("AVIF", {"quality": 95, "subsampling": "4:4:4"}),
    "jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
}
LOSSY = {"gif": 8.0, "avif": 2.0, "jpeg": 2.0}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_its_pixels(kind: str) -> None:
    name, options = FORMATS[kind]
    data = encoded(name, **options)
    assert read_header(data, "wrong_extension.txt") == Header(kind, WIDTH, HEIGHT, 1, 1)
    assert difference(pixels(data), scene()) <= LOSSY.get(kind, 0.0)


TURNED = [np.asarray(Image.fromarray(scene()).transpose(t)) for t in Image.Transpose]
"""The stored pixels that orientation 2 to 8 turns back, in the order of `Image.Transpose`."""
STORED = {2: TURNED[0], 3: TURNED[3], 4: TURNED[1], 5: TURNED[5], 6: TURNED[2], 7: TURNED[6], 8: TURNED[4]}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "avif"])
def test_orientation_is_undone(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    name, options = FORMATS[kind]
    data = encoded(name, STORED.get(orientation, scene()), exif=exif, **options)
    header = read_header(data)
    assert (header.width_px, header.height_px, header.orientation) == (WIDTH, HEIGHT, orientation)
    assert difference(pixels(data), scene()) <= LOSSY.get(kind, 0.0)


@pytest.mark.parametrize("order", ["little", "big"])
def test_damaged_exif_means_upright(order: Any) -> None:
    magic = b"II*\0" if order == "little" else b"MM\0*"

    def block(ifd: int, count: int, tag: int, kind: int, value: int) -> bytes:
        numbers = [(count, 2), (tag, 2), (kind, 2), (1, 4), (value, 2), (0, 2)]
        return (
            b"Exif\0\0" + magic + ifd.to_bytes(4, order) + b"".join(n.to_bytes(s, order) for n, s in numbers)
        )

    whole = block(8, 1, 0x0112, 3, 6)
    assert orientation_of(whole) == 6
    assert orientation_of(whole[6:]) == 6
    for broken in (
        None,
        b"",
        b"Exif\0\0",
        block(2**32 - 1, 1, 0x0112, 3, 6),  # directory beyond the end
        block(8, 1, 0x0112, 3, 9),
        block(8, 1, 0x0112, 3, 0),
        block(8, 1, 0x0112, 2, 6),  # text
        block(8, 1, 0x0100, 3, 6),  # another tag
        block(8, 0, 0x0112, 3, 6),  # empty directory
        b"Exif\0\0JUNK" + whole[10:],
    ):
        assert orientation_of(broken) == 1
    assert orientation_of(block(8, 65535, 0x0112, 3, 6)) == 6
    for length in range(len(whole) - 2):
        assert orientation_of(whole[:length]) in (1, 6)


def test_transparency_is_composited_on_white() -> None:
    alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    alpha[:, : WIDTH // 2] = 255
    alpha[0] = 128
    rgba = np.concatenate([scene(), alpha], axis=-1)
    expected = np.round((scene() * (alpha / 255.0)) + 255 * (1 - alpha / 255.0))
    for data in (
        encoded("PNG", rgba),
        encoded("WEBP", rgba, lossless=True, exact=True),
        encoded("TIFF", rgba),
    ):
        assert np.abs(pixels(data) - expected).max() <= 1
    gray = encoded("PNG", Image.fromarray(np.concatenate([scene()[..., :1], alpha], axis=-1), "LA"))
    assert np.abs(pixels(gray)[..., 1] - expected[..., 0]).max() <= 1


def test_palette_and_colour_key_transparency() -> None:
    palette = Image.fromarray((np.indices((HEIGHT, WIDTH))[1] // 20).astype(np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    solid = pixels(encoded("PNG", palette))
    assert [tuple(solid[0, x]) for x in (0, 20, 40)] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    for data in (encoded("PNG", palette, transparency=1), encoded("GIF", palette, transparency=1)):
        clear = pixels(data)
        assert [tuple(clear[0, x]) for x in (0, 20, 40)] == [(255, 0, 0), (255, 255, 255), (0, 0, 255)]
    key = encoded("PNG", np.full((4, 4, 3), (10, 20, 30), np.uint8), transparency=(10, 20, 30))
    assert (pixels(key) == 255).all()


def test_sixteen_bits_keep_their_tones() -> None:
    gray = np.linspace(0, 65535, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint16)
    expected = np.round(gray / 257.0)
    for data in (encoded("PNG", gray), encoded("TIFF", gray), _pgm16(gray)):
        assert np.abs(pixels(data)[..., 0] - expected).max() <= 1
        assert (pixels(data)[..., 0] == pixels(data)[..., 2]).all()
    colour = scene().astype(np.uint16) * 257
    assert np.array_equal(pixels(_png(colour.astype(">u2").tobytes(), WIDTH, HEIGHT, 16, 2)), scene())


def _pgm16(gray: np.ndarray) -> bytes:
    return b"P5 %d %d 65535\n" % gray.shape[::-1] + gray.astype(">u2").tobytes()


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def _png(samples: bytes, width: int, height: int, depth: int, colour: int, before: bytes = b"") -> bytes:
    """A PNG from raw samples; `before` holds chunks to put before the pixels."""
    row = len(samples) // height if samples else 0
    rows = b"".join(b"\0" + samples[i * row : (i + 1) * row] for i in range(height)) if samples else b""
    return _png_of(zlib.compress(rows), width, height, depth, colour, before)


def _png_of(
    idat: bytes,
    width: int = WIDTH,
    height: int = HEIGHT,
    depth: int = 8,
    colour: int = 2,
    before: bytes = b"",
) -> bytes:
    start = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + before + _chunk(b"IDAT", idat) + _chunk(b"IEND", b"")


def test_damaged_tiffs_are_noticed_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    """libtiff would write a line for each damaged row."""
    data = bytearray(encoded("TIFF", Image.fromarray(scene()).convert("1"), compression="group4"))
    with Image.open(io.BytesIO(data)) as image:
        start = dict(getattr(image, "tag_v2", {}))[273][0]
    data[start + 8 : start + 40] = bytes(range(32))
    with pytest.raises(ImageError, match="the TIFF file is damaged: Fax4Decode: Bad code word") as caught:
        pixels(bytes(data))  # libtiff itself decodes fax rows as far as it can, and says that all is well
    assert caught.value.reason.name == "corrupt"
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"


def test_one_bit_gray_and_cmyk() -> None:
    gray = Image.fromarray(scene()).convert("L")
    bits = gray.convert("1")
    for data in (encoded("PNG", bits), encoded("TIFF", bits, compression="group4")):
        assert np.array_equal(pixels(data)[..., 1], np.asarray(bits) * 255)
    assert np.array_equal(pixels(encoded("PNG", gray))[..., 2], np.asarray(gray))
    inks = Image.fromarray(
        255 - np.concatenate([scene(), np.full((HEIGHT, WIDTH, 1), 255, np.uint8)], -1), "CMYK"
    )
    assert difference(pixels(encoded("TIFF", inks)), scene()) == 0


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_frame_or_page_is_read(kind: str) -> None:
    others = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue")]
    data = encoded(
        kind, save_all=True, append_images=others, **({"lossless": True} if kind == "WEBP" else {})
    )
    assert read_header(data).frames == 3
    assert difference(pixels(data), scene()) < 9


def test_pixels_without_a_fixed_meaning_are_refused() -> None:
    lab = Image.new("LAB", (4, 4))
    for image, words in (
        (np.zeros((4, 4), np.float32), "a picture of floating-point numbers"),
        (np.zeros((4, 4), np.int32), "a picture of 32-bit or signed numbers"),
        (lab, "a picture of Lab colours"),
    ):
        with pytest.raises(ImageError, match=f"{words}, which no codec here decodes; convert it") as caught:
            pixels(encoded("TIFF", image))
        assert caught.value.reason.name == "unsupported"


def _tiff(tags: dict[int, tuple[int, ...]], samples: bytes) -> bytes:
    """A little-endian TIFF of one strip."""
    width, height = tags[256][0], tags[257][0]
    base = {259: (1,), 262: (1,), 277: (len(tags[258]),), 278: (height,), 279: (len(samples),), 273: (0,)}
    all_tags = {**base, **tags}
    start = 8 + 2 + 12 * len(all_tags) + 4
    all_tags[273] = (start,)
    entries = tail = b""
    for tag, values in sorted(all_tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(packed) > 4:
            where = struct.pack("<I", start + len(samples) + len(tail))
            tail, packed = tail + packed, where
        entries += struct.pack("<HHI", tag, 4, len(values)) + packed
    assert width and height
    return b"II*\0" + struct.pack("<IH", 8, len(all_tags)) + entries + bytes(4) + samples + tail


def test_twelve_bits_keep_their_tones() -> None:
    gray = np.linspace(0, 4095, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint16)
    expected = np.round(gray / 4095 * 255)
    pairs = gray.reshape(HEIGHT, -1, 2).astype(int)
    packed = np.stack(
        [pairs[..., 0] >> 4, (pairs[..., 0] & 15) << 4 | pairs[..., 1] >> 8, pairs[..., 1] & 255], -1
    )
    size = {256: (WIDTH,), 257: (HEIGHT,)}
    for data in (
        _tiff({**size, 258: (12,)}, packed.astype(np.uint8).tobytes()),
        _tiff({**size, 258: (16,), 281: (4095,)}, gray.astype("<u2").tobytes()),
        b"P5 %d %d 4095\n" % (WIDTH, HEIGHT) + gray.astype(">u2").tobytes(),
    ):
        assert np.abs(pixels(data)[..., 0] - expected).max() <= 1


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({258: (12, 12, 12), 262: (2,)}, "a TIFF of 12 bits a sample"),
        ({258: (32, 32, 32), 262: (2,), 339: (3, 3, 3)}, "a TIFF of floating-point numbers"),
        ({258: (16,), 339: (3,)}, "a TIFF of floating-point numbers"),
        ({258: (24,)}, "a TIFF of 24 bits a sample"),
        ({258: (8, 8, 8), 262: (2,), 259: (50001,)}, "a TIFF compressed by WebP"),
        ({258: (8, 8, 8), 262: (2,), 259: (34925,)}, "a TIFF compressed by LZMA"),
    ],
)
def test_whole_tiffs_of_other_kinds_are_not_called_damaged(
    tags: dict[int, tuple[int, ...]], words: str
) -> None:
    data = _tiff({256: (WIDTH,), 257: (HEIGHT,), **tags}, bytes(WIDTH * HEIGHT * 12))
    with pytest.raises(ImageError, match=f"it is {words}, which no codec here decodes; convert it") as caught:
        pixels(data)
    assert caught.value.reason.name == "unsupported"


@pytest.mark.parametrize(
    ("data", "name", "reason", "words"),
    [
        (b"", "a.jpg", "empty", "empty"),
        (b"", "", "empty", "empty"),
        (b"<!DOCTYPE html><html>404</html>", "a.jpg", "corrupt", "an HTML page"),
        (b"\xef\xbb\xbf\n <HTML>", "a.PNG", "corrupt", "an HTML page"),
        (b"<!DOCTYPE html>", "a", "not_an_image", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "x/a.jpeg", "corrupt", "a Git LFS pointer"),
        (b'{"a": 1}', "labels.json", "not_an_image", "JSON"),
        (b"name,age\nx,3\n", "labels.csv", "not_an_image", "text"),
        (b"BMW is a make of cars\n" * 9, "notes.txt", "not_an_image", "no known kind"),
        (b"BMW is a make of cars\n" * 9, "notes.bmp", "corrupt", "damaged"),
        (b"\0" * 100, "a.webp", "corrupt", "a run of zero bytes"),
        (bytes(range(7, 250)), "a.webp", "corrupt", "no known kind of picture"),
        (b"PK\x03\x04....", "a.zip", "not_an_image", "a ZIP archive"),
        (b"<?xml version='1.0'?><svg></svg>", "a.svg", "not_an_image", "an SVG drawing"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a.jpg", "not_an_image", "video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "a.mov", "not_an_image", "video"),
        (b"RIFF\0\0\0\0AVI LIST", "a.avi", "not_an_image", "video"),
        (b"\x1a\x45\xdf\xa3....", "a.webm", "not_an_image", "video"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a.jpg", "unsupported", "a HEIC picture.*; convert it to JPEG"),
        (b"\xff\x0a....", "a.jxl", "unsupported", "a JPEG XL picture.*; convert it to JPEG or PNG"),
        (b"\x76\x2f\x31\x01....", "a.exr", "unsupported", "OpenEXR.*floating-point"),
        (b"#?RADIANCE\n", "a.hdr", "unsupported", "Radiance.*floating-point"),
        (b"PF\n2 2\n-1.0\n", "a.pfm", "unsupported", "a portable float map"),
        (b"\xff\xd8", "a.jpg", "corrupt", "before its picture"),
        (b"\xff\xd8\xff\xd9", "a.jpg", "corrupt", "before its picture"),
        (b"\x89PNG\r\n\x1a\n", "a.png", "corrupt", "no valid header"),
        (b"GIF89a", "a.gif", "corrupt", "header is damaged"),
    ],
)
def test_bytes_that_are_no_picture(data: bytes, name: str, reason: str, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        read_header(data, name)
    assert caught.value.reason.name == reason
    copy = pickle.loads(pickle.dumps(caught.value))  # crosses process borders
    assert (copy.reason, str(copy)) == (caught.value.reason, str(caught.value))


def test_png_checksums() -> None:
    text = _chunk(b"tEXt", b"Comment\0hello")
    whole = _png(scene().tobytes(), WIDTH, HEIGHT, 8, 2, before=text)
    assert np.array_equal(pixels(whole), scene())
    damaged_comment = whole.replace(b"hello", b"jello")
    assert np.array_equal(pixels(damaged_comment), scene())
    at = whole.index(b"IDAT") + 30
    for damaged in (whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :], whole[:at], whole[:-20]):
        with pytest.raises(ImageError) as caught:
            pixels(damaged)
        assert caught.value.reason.name == "corrupt"
    assert np.array_equal(pixels(whole[:-12]), scene())  # only IEND is missing
    with pytest.raises(ImageError, match="no valid header"):
        read_header(whole[:17] + b"\x7f" + whole[18:])  # the width


def test_png_checksum_alone_reveals_a_changed_pixel() -> None:
    rows = b"".join(b"\0" + row.tobytes() for row in scene())
    stream = zlib.compressobj(0)  # stored: any value is legal
    stored = stream.compress(rows) + stream.flush(zlib.Z_FULL_FLUSH)  # and without the stream's own checksum
    whole = _png_of(stored)
    assert np.array_equal(pixels(whole), scene())
    at = whole.index(b"IDAT") + 300
    with pytest.raises(ImageError, match="checksum in chunk IDAT"):
        pixels(whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :])


def test_orientation_in_xmp_alone_is_ignored() -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert np.array_equal(pixels(encoded("TIFF", tiffinfo={700: xmp})), scene())


def test_greedy_decoders_have_limits_of_their_own() -> None:
    data = bytearray(encoded("WEBP", lossless=True))
    at = data.index(b"VP8L") + 9
    data[at : at + 4] = struct.pack("<I", 7999 | 7999 << 14)  # 8000 x 8000
    header = read_header(bytes(data))
    assert header.width_px * header.height_px < 80_000_000
    with pytest.raises(ImageError, match="60,000,000") as caught:
        decode(bytes(data), header)
    assert caught.value.reason.name == "too_many_pixels"


def test_a_header_of_other_bytes_is_noticed() -> None:
    with pytest.raises(ImageError, match="disagree"):
        decode(encoded("PNG"), read_header(encoded("PNG", scene()[:30])))
    with pytest.raises(ImageError, match="2,400 pixels"):
        decode(encoded("PNG"), read_header(encoded("PNG", scene()[:30])), max_pixels=2000)


def test_avif_under_its_general_brand() -> None:
    data = encoded("AVIF").replace(b"ftypavif", b"ftypmif1", 1)
    assert read_header(data).format == "avif"
    with pytest.raises(ImageError, match="HEIC"):
        read_header(data.replace(b"avif", b"heic"))


@pytest.mark.parametrize("kind", ["png", "bmp", "ppm", "tiff", "webp", "avif", "jp2", "gif", "jpeg"])
def test_half_a_file_is_corrupt(kind: str) -> None:
    name, options = FORMATS[kind]
    data = encoded(name, **options)
    with pytest.raises(ImageError) as caught:
        pixels(data[: len(data) // 2])
    assert caught.value.reason.name == "corrupt"


def test_pixel_limit_is_inclusive_and_checked_on_the_header() -> None:
    for kind in ("jpeg", "png", "webp"):
        name, options = FORMATS[kind]
        data = encoded(name, **options)
        header = read_header(data)
        assert decode(data, header, max_pixels=WIDTH * HEIGHT).rgb.shape == (HEIGHT, WIDTH, 3)
        with pytest.raises(ImageError, match="2,400 pixels") as caught:
            decode(data, header, max_pixels=WIDTH * HEIGHT - 1)
        assert caught.value.reason.name == "too_many_pixels"


def test_sizes_that_make_pillow_warn_pass_silently() -> None:
    gif = struct.pack("<6sHHBBB", b"GIF89a", 10_000, 10_000, 0x80, 0, 0) + bytes(6)
    gif += struct.pack("<cHHHHB", b",", 0, 0, 10_000, 10_000, 0) + b"\x02\x02\x44\x01\0;"
    for data in (gif, _png(b"", 10_000, 10_000, 8, 2)):
        header = read_header(data)
        assert (header.width_px, header.height_px) == (10_000, 10_000)
        with pytest.raises(ImageError, match="100,000,000 pixels"):
            decode(data, header)
