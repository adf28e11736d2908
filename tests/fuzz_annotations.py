"""Labels and annotations of data sets: everything that an adapter reads besides pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
from fuzzing import Target, sentence
from recorded import numbered, write_levels, write_table, write_video

from facecorpus import schema
from facecorpus.errors import UserError
from facecorpus.record import to_table
from facecorpus.sources.base import Drawn, make_source
from facecorpus.sources.bp4d import AUS
from facecorpus.sources.frame_list import FrameLists

_JPEG = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()


def _disfa(folder: Path) -> Path:
    write_video(folder / "RightVideoSN001_comp.avi", (numbered(n) for n in range(1, 4)))
    for unit in (1, 2):
        write_levels(folder / f"SN001/SN001_au{unit}.txt", [0, unit, 5])
    return folder / "SN001/SN001_au1.txt"


def _bp4d(which: str, folder: Path) -> Path:
    pictures = folder / "Sequences/F001/T1"
    pictures.mkdir(parents=True)
    for frame in (40, 41, 42):
        (pictures / f"{frame}.jpg").write_bytes(_JPEG)
    rows = [[frame, *(unit % 2 if unit in AUS else 9 for unit in range(1, 100))] for frame in (40, 41, 42)]
    write_table(folder / "AU_OCC/F001_T1.csv", range(100), rows)
    write_levels(folder / "AU_INT/AU06/F001_T1_AU06.csv", [0, 5, 9], first=40)
    return folder / which


def _celeba(which: str, folder: Path) -> Path:
    (folder / "img_align_celeba").mkdir()
    for number in (1, 2, 3):
        (folder / f"img_align_celeba/{number:06d}.jpg").write_bytes(_JPEG)
    names = [f"{number:06d}.jpg" for number in (1, 2, 3)]
    points = "69 109 106 113 77 142 73 152 108 154"
    (folder / "identity_CelebA.txt").write_text("".join(f"{name} 2880\n" for name in names))
    (folder / "list_landmarks_align_celeba.txt").write_text("".join(f"{name}  {points}\n" for name in names))
    (folder / "list_eval_partition.csv").write_text(
        "image_id,partition\n" + "".join(f"{n},1\n" for n in names)
    )
    return folder / which


def _vggface2(which: str, folder: Path) -> Path:
    (folder / "train/n000002").mkdir(parents=True)
    (folder / "bb_landmark").mkdir()
    rows = range(1, 4)
    for row in rows:
        (folder / f"train/n000002/000{row}_01.jpg").write_bytes(_JPEG)
    for name, values in (
        ("loose_bb_train.csv", "1,-3,79,109"),
        ("loose_landmark_train.csv", "1.5,2,3,4,5,6,7,8,9,10"),
    ):
        header = ",".join(["NAME_ID", *(f"P{n}" for n in range(values.count(",") + 1))])
        text = "".join(f'"n000002/000{row}_01",{values}\n' for row in rows)
        (folder / f"bb_landmark/{name}").write_text(f"{header}\n{text}")
    return folder / which


def _frame_list(which: str, folder: Path) -> Path:
    drawn = [Drawn(place, 0, place, _JPEG, None, None, {6: 3.0}) for place in range(1, 4)]
    for name, data in FrameLists.lay_out(drawn).files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / which


def read(adapter: str, levels: int, path: Path) -> int:
    """List the source, as `inventory` does, and make the rows of its table."""
    source = make_source(adapter, adapter, str(path.parents[levels]))
    try:
        records = list(source.inventory())
    except UserError as error:
        sentence(error, path)
        return 0
    for note in source.notes:
        assert "\n" not in note and len(note) < 2000, note[:300]
    return to_table(records, schema.INVENTORY).num_rows


TARGETS = (
    Target("disfa", _disfa, partial(read, "disfa", 1)),
    Target("bp4d-occurrences", partial(_bp4d, "AU_OCC/F001_T1.csv"), partial(read, "bp4d", 1)),
    Target("bp4d-intensities", partial(_bp4d, "AU_INT/AU06/F001_T1_AU06.csv"), partial(read, "bp4d", 2)),
    *(
        Target(f"celeba-{name}", partial(_celeba, name), partial(read, "celeba", 0))
        for name in ("identity_CelebA.txt", "list_landmarks_align_celeba.txt", "list_eval_partition.csv")
    ),
    *(
        Target(f"vggface2-{name}", partial(_vggface2, f"bb_landmark/{name}"), partial(read, "vggface2", 1))
        for name in ("loose_bb_train.csv", "loose_landmark_train.csv")
    ),
    Target("frame_list-lines", partial(_frame_list, "BP4D_all.json"), partial(read, "frame_list", 0)),
    *(
        Target(f"frame_list-{what}", partial(_frame_list, f"list/{name}"), partial(read, "frame_list", 1))
        for what, name in (
            ("paths", "BP4D_test_img_path_fold1.txt"),
            ("labels", "BP4D_test_label_fold1.txt"),
        )
    ),
)
