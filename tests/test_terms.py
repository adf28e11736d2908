"""Terms of the sources: said before anything is read, kept with the corpus, and obeyed where asked for."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from laid_out import put, write_tar
from pictured import encoded, scene
from small_corpus import build

import facecorpus
from facecorpus import manifests, pipeline, schema
from facecorpus.errors import UserError
from facecorpus.filters import Limits
from facecorpus.phases.corpus import Corpus
from facecorpus.sources.base import Facts, make_source

BLIND = ("detector=none", "align=none", "dedup=none", "limits.min_side_px=1")
BY, BY_ND = (f"https://creativecommons.org/licenses/{kind}/2.0/" for kind in ("by", "by-nc-nd"))


def lay_out(root: Path) -> str:
    """Own pictures, of which one folder may be passed on, and a crawl with licences; the specs."""
    for name in ("mine", "theirs"):
        put(root / name / "a.png", encoded("PNG", scene()))
    put(root / "mine/origin.json", b'{"redistributable": true}')
    told = {"0": {"LICENSE": BY}, "1": {"license": BY_ND}, "2": {"LICENSE": "?"}}
    members = {f"{key}.json": json.dumps(said).encode() for key, said in told.items()}
    pictures = {f"{key}.png": encoded("PNG", scene()) for key in told}
    write_tar(root / "crawl/0.tar", dict(sorted((members | pictures).items())))
    return "mine=folder:mine,theirs=folder:theirs,crawl=webdataset:crawl"


def free(corpus: Corpus) -> dict[str, bool]:
    rows = facecorpus.open(corpus.out).manifest().select(["id", "redistributable"]).to_pylist()
    return {row["id"]: row["redistributable"] for row in rows}


def test_every_section_says_whether_crops_may_be_passed_on() -> None:
    sections = tomllib.loads((manifests.folder() / "sources.toml").read_text("utf-8"))
    said = {name: fields.get("redistribution") for name, fields in sections.items()}
    assert set(said.values()) == {"yes", "no", "by picture", "unstated"}
    assert said["edface_celeb_1m"] == "no"  # CC BY-NC-ND: a crop is a derivative
    with pytest.raises(UserError, match="x: redistribution is 'maybe'; give yes, no, by picture or unstated"):
        Facts(name="x", title="", layout="", terms="", availability="", redistribution="maybe")  # type: ignore[arg-type]


def test_shards_say_which_samples_may_be_passed_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = build(tmp_path, tmp_path / "out", *BLIND, sources=lay_out(tmp_path))
    assert free(made) == {
        "mine/a.png": True,
        "theirs/a.png": False,
        "crawl/0.tar/0.png": True,
        "crawl/0.tar/1.png": False,
        "crawl/0.tar/2.png": False,
    }
    pipeline.say_terms(made)
    said = capsys.readouterr().err
    assert (
        "terms of mine (Any folder of images): whatever the images' owners grant; crops may be passed" in said
    )
    assert (
        "terms of theirs (Any folder of images): whatever the images' owners grant; crops may not be" in said
    )
    told = json.loads(pq.read_schema(tmp_path / "out/shards.parquet").metadata[schema.CROPS])["sources"]
    assert [(each["name"], each["redistributable"]) for each in told] == [
        ("mine", True),
        ("theirs", False),
        ("crawl", False),
    ]


def test_redistributable_only_leaves_the_others_out_with_a_row_each(tmp_path: Path) -> None:
    specs, only = lay_out(tmp_path), "limits.redistributable_only=true"
    made = build(tmp_path, tmp_path / "out", *BLIND, only, sources=specs)
    assert free(made) == {"mine/a.png": True, "crawl/0.tar/0.png": True}
    rows = pq.read_table(tmp_path / "out/selection.parquet", columns=["id", "state", "reason"]).to_pylist()
    left = {row["id"]: (row["state"], row["reason"]) for row in rows if row["state"] != "kept"}
    assert set(left) == {"theirs/a.png", "crawl/0.tar/1.png", "crawl/0.tar/2.png"}
    assert set(left.values()) == {("rejected", "not_redistributable")}
    assert "redistributable_only" not in Limits().plain()


def test_a_permission_that_is_taken_back_is_noticed(tmp_path: Path) -> None:
    specs = lay_out(tmp_path)
    build(tmp_path, tmp_path / "out", *BLIND, sources=specs)
    put(tmp_path / "mine/origin.json", b"{}")
    assert not free(build(tmp_path, tmp_path / "out", *BLIND, sources=specs))["mine/a.png"]
    put(tmp_path / "mine/origin.json", b'{"redistributable": "yes"}')
    with pytest.raises(
        UserError, match=r"mine: redistributable in origin\.json is 'yes'; write true or false"
    ):
        make_source("folder", "mine", str(tmp_path / "mine")).redistributable()
