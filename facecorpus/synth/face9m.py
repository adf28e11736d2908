"""The layouts of Face9M's other sources (those not in `layouts`), with the traps that the real ones have."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facecorpus.synth.entry import Entry, Writer, put, write_shard, write_tar_gz
from facecorpus.synth.plan import Item

_WRONG_POINTS = {str(k): {"x": 3.0 * k, "y": 2.0 * k} for k in range(5)}
_FLICKR = "https://www.flickr.com/photos"


def label(source: str, person: int, batch_of: int) -> str | None:
    """The identity that the layout gives a person, in a picture of the person `batch_of`."""
    if source == "umdfaces":
        return f"batch{1 + batch_of % 3}/{_subject(person, batch_of)}"
    return f"{_account(person)}_identity_{person}" if source == "megaface" and _is_mf2(person) else None


def member(item: Item, number: int, place: int) -> str:
    """What the id of an input holds after the source's name.

    Args:
        item: the input.
        number: of the picture among the person's, from 1.
        place: of the picture in the data set, from 0.
    """
    source, person = item.source, item.person
    if source == "ffhq":
        index = 59_994 + place
        return f"images1024x1024/{index // 1000 * 1000:05d}/{index:05d}.png"
    if source == "megaface":
        photo = f"{8_032_652_000 + 7 * place}_{place % 3}.jpg"
        account = _account(person)
        if _is_mf2(person):
            return f"Megaface_Challenge_1M_disjoint_LOOSE/{account}_identity_{person}/{photo}"
        return f"FlickrFinal2/{account[:3]}/{account}/{photo}"
    if source == "edface_celeb_1m":
        return f"align/{'test' if person % 4 == 0 else 'train'}/HR/{place:07d}.png"
    if source == "umdfaces":
        name = f"drawn_person_{person}"
        return f"umdfaces_batch{1 + person % 3}/{name}/{name}_{number:04d}.jpg"
    return f"split_{place % 2}/00000.tar/{_sample_key(place)}.jpg"


def _account(person: int) -> str:
    return f"{90_195_83 + 13 * person}@N0{person % 9}"


def _is_mf2(person: int) -> bool:
    return person % 2 == 1


def _subject(person: int, batch_of: int) -> int:
    """Numbers begin anew in each batch: the same number is someone else in another."""
    return person // 3 + 1 if person % 3 == batch_of % 3 else 1000 + person


def _sample_key(place: int) -> str:
    return f"00000{place // 2:04d}"


def _smaller(data: bytes, side: int) -> bytes | None:
    """The picture at another size as PNG; None where it is none."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        return None
    resized = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".png", resized)[1].tobytes()


def _write_ffhq(folder: Path, entries: Sequence[Entry]) -> None:
    """Folders of 1,000; a zip of thumbnails, which show the same; two faces of one photograph."""
    metadata = {}
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "thumbnails128x128.zip", "w") as thumbnails:
        for place, entry in enumerate(entries):
            put(folder / entry.member, entry.data)
            index = int(Path(entry.member).stem)
            if small := _smaller(entry.data, 128):
                name = entry.member.replace("images1024x1024", "thumbnails128x128")
                thumbnails.writestr(zipfile.ZipInfo(name), small)
            metadata[str(index)] = _ffhq_entry(entry, index, place // 2)
    put(folder / "ffhq-dataset-v2.json", json.dumps(metadata, indent=1).encode())
    put(folder / "LICENSE.txt", b"Drawn people. Nobody here exists.\n")


def _ffhq_entry(entry: Entry, index: int, photo: int) -> dict[str, object]:
    width, height = entry.item.size_px
    five = np.reshape(entry.points_px or np.linspace(0.3, 0.7, 10) * width, (5, 2))
    points = np.repeat(five[2:3], 68, axis=0)
    points[36:42], points[42:48], points[48], points[54] = five[0], five[1], five[3], five[4]
    return {
        "category": "training" if index < 60_000 else "validation",
        "metadata": {
            "photo_url": f"{_FLICKR}/drawn/{1000 + photo}/",
            "photo_title": "Zwei Köpfe",
            "author": "nobody",
            "license": "Attribution License",
            "license_url": "https://creativecommons.org/licenses/by/2.0/",
        },
        "image": {"pixel_size": [width, height], "face_landmarks": points.tolist()},
        "in_the_wild": {
            "pixel_size": [2 * width, 2 * height],
            "face_rect": [width // 2, height // 2, 3 * width // 2, 3 * height // 2],
            "face_landmarks": np.add(points, (width / 2, height / 2)).tolist(),
        },
    }


def _box(entry: Entry) -> tuple[float, float, float, float]:
    """The box of the first person, or in a picture of nobody a box all the same."""
    width, height = entry.item.size_px
    boxes = [box for _, box in entry.faces]
    return boxes[0] if boxes else (0.3 * width, 0.3 * height, 0.6 * width, 0.7 * height)


def _write_megaface(folder: Path, entries: Sequence[Entry]) -> None:
    """Distractors with JSON files whose points are wrong; MF2 loose, with META and the tight crops beside."""
    loose: list[tuple[str, bytes]] = []
    tight: list[tuple[str, bytes]] = []
    for entry in entries:
        x0, y0, x1, y1 = (round(v, 1) for v in _box(entry))
        if entry.member.startswith("FlickrFinal2"):
            put(folder / entry.member, entry.data)
            said = {
                "bounding_box": {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0},
                "landmarks": _WRONG_POINTS,
                "full_img_url": f"{_FLICKR}/drawn/1.jpg",
            }
            put(folder / f"{entry.member}.json", json.dumps(said).encode())
            continue
        loose.append((entry.member, entry.data))
        name = entry.member.partition("/")[2]
        if small := _smaller(entry.data, 96):
            tight.append((f"identities_tight_cropped/{name}", small))
        crop = {"left": 700.0, "top": 300.0, "right": 700.0 + entry.item.size_px[0], "bottom": 999.0}
        face = {"left": 700 + x0, "top": 300 + y0, "right": 700 + x1, "bottom": 300 + y1}
        meta = f"MegafaceIdentities_VGG_META/{name.removesuffix('.jpg')}.json"
        put(folder / meta, json.dumps({"box": face, "exp_bb": crop}).encode())
    write_tar_gz(folder / "Megaface_Challenge_1M_disjoint_LOOSE.tar.gz", sorted(loose))
    write_tar_gz(folder / "identities_tight_cropped.tar.gz", sorted(tight))


def _write_edface(folder: Path, entries: Sequence[Entry]) -> None:
    """Pictures of high resolution, and of each four that were made worse."""
    for entry in entries:
        put(folder / entry.member, entry.data)
        for name, side in (("LR_X2", 64), ("X4", 32), ("X4_BD", 32), ("X8", 16)):
            if small := _smaller(entry.data, side):
                put(folder / entry.member.replace("/HR/", f"/{name}/"), small)


def _write_umdfaces(folder: Path, entries: Sequence[Entry]) -> None:
    """The first batch in an archive with its table, the second as a folder, the third with it beside."""
    for batch in (1, 2, 3):
        name = f"umdfaces_batch{batch}"
        chosen = sorted((e for e in entries if e.member.startswith(name)), key=lambda e: e.member)
        table = _umdfaces_table(chosen).encode()
        if batch == 2:
            for entry in chosen:
                put(folder / entry.member, entry.data)
            put(folder / f"{name}/{name}_ultraface.csv", table)
            continue
        inside = [(f"{name}/{name}_ultraface.csv", table)] if batch == 1 else []
        write_tar_gz(folder / f"{name}.tar.gz", [*((e.member, e.data) for e in chosen), *inside])
        if batch == 3:
            put(folder / f"{name}_ultraface.csv", table)


def _umdfaces_table(entries: Sequence[Entry]) -> str:
    """76 columns, a line for each face; of every fifth face a point is called not visible."""
    points = [name for k in range(1, 22) for name in (f"P{k}X", f"P{k}Y", f"VIS{k}")]
    head = ["SUBJECT_ID", "FILE", "FRAME", "ENTRY_ID", "FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT"]
    lines = [",".join([*head, "YAW", "PITCH", "ROLL", *points, "PR_MALE", "PR_FEMALE"])]
    for entry in entries:
        faces = entry.faces or ((tuple(np.linspace(20, 50, 10)), _box(entry)),)
        for (five, (x0, y0, x1, y1)), who in zip(faces, entry.labels, strict=False):
            values = dict.fromkeys(points, 1.0)
            for k, point in enumerate((8, 11, 15, 18, 20)):
                values[f"P{point}X"], values[f"P{point}Y"] = five[2 * k], five[2 * k + 1]
            values["VIS15"] = float(len(lines) % 5 != 0)
            subject = (who or "/0").rpartition("/")[2]
            box = [f"{v:.2f}" for v in (x0, y0, x1 - x0, y1 - y0)]
            name = entry.member.partition("/")[2]
            row = [subject, name, "0", str(len(lines)), *box, "1.5", "-2", "0"]
            lines.append(",".join([*row, *(f"{v:.3f}" for v in values.values()), "0.4", "0.6"]))
    return "\n".join([*lines, ""])


def _write_laion(folder: Path, entries: Sequence[Entry]) -> None:
    """What img2dataset writes, and the published detections, of which every third is of a larger picture."""
    for split in (0, 1):
        chosen = sorted(
            (e for e in entries if e.member.startswith(f"split_{split}/")), key=lambda e: e.member
        )
        rows = [_laion_row(entry) for entry in chosen]
        members: list[tuple[str, bytes]] = []
        for entry, row in zip(chosen, rows, strict=True):
            key, said = Path(entry.member).stem, json.dumps(row, indent=4)
            members += [(f"{key}.jpg", entry.data), (f"{key}.txt", str(row["caption"]).encode())]
            members.append((f"{key}.json", said.encode()))
        write_shard(folder / f"split_{split}/00000.tar", members)
        stats = {"count": len(rows) + 3, "successes": len(rows), "failed_to_download": 3}
        put(folder / f"split_{split}/00000_stats.json", json.dumps(stats).encode())
        pq.write_table(pa.Table.from_pylist(rows), folder / f"split_{split}/00000.parquet")
        detections, sizes = _laion_detections(chosen, rows)
        put(folder / f"detection_metadata/sample2detect_{split}.pth", _as_torch_saves(detections))
        meta = folder / f"laion_face_meta/laion_face_part_{split:05d}.parquet"
        meta.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(sizes), meta)


def _laion_row(entry: Entry) -> dict[str, str | int]:
    split, _, name = entry.member.split("/")
    number = 2 * int(Path(name).stem) + int(split[-1])
    width, height = entry.item.size_px
    return {
        "key": Path(name).stem,
        "url": f"https://pictures.example/{number}.jpg",
        "caption": f"a drawn picture, number {number}",
        "status": "success",
        "width": width,
        "height": height,
        "original_width": width,
        "original_height": height,
        "SAMPLE_ID": 2_000_000_000_000 + number,
    }


def _laion_detections(
    entries: Sequence[Entry], rows: Sequence[dict[str, str | int]]
) -> tuple[dict[int, list[tuple[object, object, float]]], dict[str, list[int]]]:
    """What was found in each picture as it was then, by number; and its size then."""
    found: dict[int, list[tuple[object, object, float]]] = {}
    sizes: dict[str, list[int]] = {"SAMPLE_ID": [], "WIDTH": [], "HEIGHT": []}
    for entry, row in zip(entries, rows, strict=True):
        number = int(row["SAMPLE_ID"])
        scale = 2 if number % 3 == 0 else 1
        width, height = (scale * side for side in entry.item.size_px)
        sizes["SAMPLE_ID"].append(number)
        sizes["WIDTH"].append(width)
        sizes["HEIGHT"].append(height)
        knee = ((tuple(np.linspace(20, 50, 10)), _box(entry)),)
        found[number] = [
            (
                np.array(box, np.float32) * scale,
                np.reshape(np.array(points, np.float32), (5, 2)) * scale,
                0.99,
            )
            for points, box in entry.faces or knee
        ]
    return found, sizes


def _as_torch_saves(value: object) -> bytes:
    """A file as torch.save writes it, without torch."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (("data.pkl", pickle.dumps(value, protocol=2)), ("version", b"3\n")):
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
    return out.getvalue()


WRITERS: Mapping[str, Writer] = {
    "ffhq": _write_ffhq,
    "megaface": _write_megaface,
    "edface_celeb_1m": _write_edface,
    "umdfaces": _write_umdfaces,
    "laion_face": _write_laion,
}
