"""Every face of a picture has a verdict of its own."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from conftest import run

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
