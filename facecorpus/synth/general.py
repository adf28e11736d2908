"""What the general readers read: RecordIO, WebDataset shards, Parquet, with what real ones hold besides."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from facecorpus.synth.entry import Entry, Writer, put, split_records, write_shard
from facecorpus.synth.plan import Item


def label(source: str, person: int, batch_of: int) -> str | None:
    """The identity that the layout gives a person."""
    del batch_of
    return f"person {person}" if source == "parquet" else str(person)


def member(item: Item, number: int, place: int) -> str:
    """What the id of an input holds after the source's name.

    Args:
        item: the input.
        number: of the picture among the person's, from 1.
        place: of the picture in the data set, from 0.
    """
    del number
    if item.source == "recordio":
        return f"train.rec/{place + 1}"
    if item.source == "webdataset":
        return f"{place % 2:05d}.tar/{place // 2:09d}.jpg"
    return f"data/{('train', 'test')[place % 2]}-00000-of-00001.parquet/{place:06d}.jpg"


def _write_recordio(folder: Path, entries: Sequence[Entry]) -> None:
    """As plain im2rec packs it (no record 0), with a list, and an evaluation set, which is a pickle."""
    records, index, lines = bytearray(), "", ""
    for entry in entries:
        key, who = int(entry.member.rpartition("/")[2]), entry.item.person
        index += f"{key}\t{len(records)}\n"
        payload = struct.pack("<IfQQ", 0, float(who), key, 0) + entry.data
        records += split_records(payload)
        lines += f"{key}\t{float(who):f}\tperson_{who}/{key}.jpg\n"
    put(folder / "train.rec", bytes(records))
    put(folder / "train.idx", index.encode())
    put(folder / "train.lst", lines.encode())
    put(folder / "lfw.bin", pickle.dumps(([b"no picture"], [True]), protocol=2))


def _write_webdataset(folder: Path, entries: Sequence[Entry]) -> None:
    """What img2dataset writes, of which one shard lost what could not be downloaded, and class numbers."""
    for shard in ("00000", "00001"):
        chosen = sorted((e for e in entries if e.member.startswith(shard)), key=lambda e: e.member)
        members: list[tuple[str, bytes]] = []
        for entry in chosen:
            key = Path(entry.member).stem
            said = {"key": key, "url": f"https://pictures.example/{shard}/{key}.jpg", "status": "success"}
            beside = {"cls": str(entry.item.person), "json": json.dumps(said), "txt": "a drawn picture"}
            members.append((f"{key}.jpg", entry.data))
            members += [(f"{key}.{ending}", text.encode()) for ending, text in beside.items()]
        write_shard(folder / f"{shard}.tar", members)
        stats = {"count": len(chosen) + 1, "successes": len(chosen), "failed_to_download": 1}
        put(folder / f"{shard}_stats.json", json.dumps(stats).encode())


def _write_parquet(folder: Path, entries: Sequence[Entry]) -> None:
    """As Hugging Face's datasets library writes it: `{bytes, path}`, and what the columns are as metadata."""
    names = sorted({entry.member.rpartition("/")[0] for entry in entries})
    features = {"image": {"_type": "Image"}, "identity": {"dtype": "string", "_type": "Value"}}
    said = json.dumps({"info": {"features": features}})
    for name in names:
        chosen = [e for e in entries if e.member.startswith(f"{name}/")]
        images = [{"bytes": e.data, "path": e.member.rpartition("/")[2]} for e in chosen]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = pa.table({"image": pa.array(images, kind), "identity": [e.identity for e in chosen]})
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata({"huggingface": said}), path, row_group_size=5)


WRITERS: Mapping[str, Writer] = {
    "recordio": _write_recordio,
    "webdataset": _write_webdataset,
    "parquet": _write_parquet,
}
