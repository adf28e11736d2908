"""A handful of drawn pictures, and a corpus made of them in this process."""

from __future__ import annotations

from pathlib import Path

import cv2

from facecorpus import pipeline
from facecorpus.phases import corpus as corpora
from facecorpus.phases import inventory
from facecorpus.phases.corpus import Corpus
from facecorpus.phases.scored import part_name
from facecorpus.recipes import recipe
from facecorpus.synth.face import draw_face
from facecorpus.synth.identity import Identity
from facecorpus.typed import override
from facecorpus.units import Done

SETTINGS = ("inputs_per_unit=3", "samples_per_shard=3")


def draw_pictures(root: Path, count: int = 7) -> Path:
    """`count` people as JPEGs in root/folder, one of them twice, and a file that is no picture."""
    folder = root / "folder"
    folder.mkdir(parents=True)
    for number in range(count):
        rgb, _, _ = draw_face(Identity.sample(7, number), size_px=240, backdrop=number)
        cv2.imwrite(str(folder / f"{number}.jpg"), rgb[:, :, ::-1])
    (folder / "again.jpg").write_bytes((folder / "0.jpg").read_bytes())
    (folder / "notes.txt").write_text("no picture")
    return root


def part_of(out: Path, member: str, source: str = "folder") -> str:
    """Name of the scoring unit that holds an input, which must have been listed."""
    corpus = corpora.load(str(out))
    for number, part in enumerate(inventory.parts(corpus, Done(corpus.out), source)):
        if f"{source}/{member}" in inventory.read_part(corpus, source, number)["id"].to_pylist():
            return part_name(source, part.name)
    raise LookupError(member)


def prepare(root: Path, out: Path, *settings: str, sources: str = "folder", rebuild: bool = False) -> Corpus:
    """A settled corpus of a few inputs a unit and a few samples a shard; nothing is listed yet."""
    chosen = override(recipe("sample"), [*SETTINGS, *settings])
    opened = pipeline.open_sources(sources, str(root))
    made = pipeline.prepare(chosen, opened, str(root), str(out), weights=None, device="cpu")
    corpora.settle(made, rebuild=rebuild)
    return made


def build(root: Path, out: Path, *settings: str, sources: str = "folder") -> Corpus:
    """A built corpus."""
    made = prepare(root, out, *settings, sources=sources)
    pipeline.build(made)
    return made
