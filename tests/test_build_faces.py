"""Every face of a picture has a verdict of its own."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from conftest import run
from small_corpus import build

from facecorpus import pipeline
from facecorpus.phases import verify
from facecorpus.synth.face import Framing, draw_face
from facecorpus.synth.identity import Identity


def test_a_face_after_a_rejected_one_keeps_nothing_of_its_verdict(tmp_path: Path) -> None:
    near, _, _ = draw_face(
        Identity.sample(5, 0), size_px=400, framing=Framing(x=0.17, y=0.44, interocular=0.3), backdrop=1
    )
    far, _, _ = draw_face(Identity.sample(5, 1), size_px=400, backdrop=1)
    folder = tmp_path / "folder"
    folder.mkdir()
    cv2.imwrite(str(folder / "two.png"), np.hstack([near, far])[:, :, ::-1])
    limits = ("limits.faces=all", "limits.max_padded=0.05", "limits.max_aspect_ratio=none")
    sets = [part for limit in limits for part in ("--set", limit)]
    out = tmp_path / "out"
    run(
        "build",
        "--root",
        str(tmp_path),
        "--sources",
        "folder",
        "--out",
        str(out),
        "--recipe",
        "sample",
        *sets,
    )

    (scores,) = (out / "scores" / "folder").glob("*.parquet")
    first, second = sorted(pq.read_table(scores).to_pylist(), key=lambda row: row["face_index"])
    assert (first["state"], first["reason"]) == ("rejected", "face_cut_off")
    assert first["padded"] > 0.05 > second["padded"]
    assert (second["state"], second["reason"], second["detail"]) == ("candidate", None, None)
    assert second["interocular_px"] < first["interocular_px"]


def test_a_file_named_like_a_face_is_no_face(tmp_path: Path) -> None:
    people = [draw_face(Identity.sample(5, number), size_px=300, backdrop=1)[0] for number in range(3)]
    folder = tmp_path / "folder"
    folder.mkdir()
    cv2.imwrite(str(folder / "g.png"), np.hstack(people[:2])[:, :, ::-1])
    cv2.imwrite(str(folder / "1.png"), people[2][:, :, ::-1])
    (folder / "1.png").rename(folder / "g.png#1")
    (folder / "g.png#").write_bytes((folder / "g.png#1").read_bytes())
    out = tmp_path / "out"
    corpus = build(tmp_path, out, "limits.faces=all", "limits.max_aspect_ratio=none", "dedup=none")
    rows = pq.read_table(out / "selection.parquet").to_pylist()
    assert sorted(row["id"] for row in rows) == [
        "folder/g.png", "folder/g.png##", "folder/g.png#1", "folder/g.png#1#"
    ]  # fmt: skip
    assert {row["state"] for row in rows} == {"kept"}
    ledgers = verify.ledgers(pipeline.run(corpus, verify.PHASE, afresh=True))
    assert (ledgers["folder"].inputs, ledgers["folder"].samples) == (3, 4)
