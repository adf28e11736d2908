"""Readers of files that fautrain is given or wrote: weights, predictions, results, checkpoints,
final models, logs."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from checkpoint_writer import state_of
from fuzzing import Target, sentence
from safetensors.torch import save_file

from facecorpus.errors import UserError
from fautrain import checkpoint
from fautrain.checkpoint.manifest import write_manifest
from fautrain.config import override, to_plain
from fautrain.data.benchmark import benchmark
from fautrain.evaluation import Header, Predictions, read_fold, read_predictions, write_predictions
from fautrain.files import read_json, sha256
from fautrain.models.heads import ActionUnitModel
from fautrain.models.vit import size_of
from fautrain.models.weights import read_weights
from fautrain.recipes import finetuning_recipe, pretraining_recipe
from fautrain.report import write_report
from fautrain.runlog import Line, read_log
from fautrain.runlog.lines import cut_log, line_to_text
from fautrain.runs.final import Choice, write_final
from fautrain.runs.inference import load_trained

torch.set_num_threads(1)

TENSORS = {"patch_embed.proj.weight": torch.ones(4, 3, 2, 2), "cls_token": torch.zeros(1, 1, 4)}


def _one_sentence(read: Callable[[Path], object], path: Path) -> None:
    try:
        read(path)
    except UserError as error:
        sentence(error, path)


def _pth(folder: Path) -> Path:
    torch.save({"model": TENSORS, "epoch": 3}, folder / "vit.pth")
    return folder / "vit.pth"


def _old_pth(folder: Path) -> Path:
    torch.save({"model": TENSORS}, folder / "vit.pth", _use_new_zipfile_serialization=False)
    return folder / "vit.pth"


def _safetensors(folder: Path) -> Path:
    save_file(TENSORS, folder / "vit.safetensors")
    return folder / "vit.safetensors"


def _predictions(folder: Path) -> Path:
    names = np.array(["a", "b"])
    return write_predictions(
        folder,
        Predictions(
            Header(dataset="made", kind="occurrence", outputs=("AU1", "AU12"), epoch=1),
            part=np.array(["test", "test"]),
            key=names,
            subject=names,
            video=names,
            frame=np.array([1, 2], np.int32),
            prediction=np.full((2, 2), 0.5, np.float32),
            target=np.ones((2, 2), np.float32),
        ),
    )


def _json(folder: Path) -> Path:
    path = folder / "model.json"
    path.write_text(json.dumps({"format": 1, "mean": [0.5, 1e-3], "aus": ["AU1"], "notes": None}))
    return path


def _checkpoint(name: str, folder: Path) -> Path:
    return checkpoint.save(folder, state_of(2, width=4), keep=1) / name


def _read_checkpoint(path: Path) -> None:
    """As it is, and again where somebody made the hashes fit."""
    folder, run = path.parent, path.parent.parent.parent
    faults = checkpoint.verify(folder)
    assert all("\n" not in fault for fault in faults) and (checkpoint.latest(run) is None) == bool(faults)
    for read in (checkpoint.load, checkpoint.inspect):
        _one_sentence(lambda path, read=read: read(path.parent), path)
    if path.name != "manifest.json":
        kept = (folder / "manifest.json").read_bytes()
        write_manifest(folder, 2, 1)
        _one_sentence(lambda path: checkpoint.load(path.parent), path)
        (folder / "manifest.json").write_bytes(kept)


def _log(folder: Path) -> Path:
    (folder / "config.json").write_text(json.dumps(to_plain(pretraining_recipe("tiny"))))
    lines = [
        Line(
            kind,
            step,
            step / 20,
            1.76e9 + step,
            {"loss": 1 / step, "lr": 1e-4, "nonfinite": 0, "mfu": np.nan},
        )
        for step in (10, 20, 30)
        for kind in ("train", "eval")
    ]
    (folder / "log.jsonl").write_text("".join(map(line_to_text, lines)))
    return folder / "log.jsonl"


def _read_log(path: Path) -> None:
    """What `fautrain report` draws, and what a resumed run cuts back."""
    assert all(0 <= line.step < 1 << 53 for line in read_log(path.parent))
    write_report(path.parent)
    cut_log(path.parent, 20)
    assert all(line.step <= 20 for line in read_log(path.parent))


def _final(name: str, folder: Path) -> Path:
    bench = benchmark("disfa")
    config = override(finetuning_recipe("tiny", "disfa"), ["model.image_px=32", "data.shards=none"])
    outputs = bench.outputs
    model = ActionUnitModel(size_of("tiny"), len(outputs), image_px=32, patch_px=16, drop_path=0.0)
    save_file(model.state_dict(), folder / "trained.safetensors")
    choice = Choice(epoch=1, threshold=0.5, mean=0.5)
    where = folder / "final"
    where.mkdir()
    write_final(
        where,
        folder / "trained.safetensors",
        {
            "kind": bench.kind,
            "outputs": outputs,
            "image_px": 32,
            "mean": config.data.mean,
            "std": config.data.std,
            "precision": "fp32",
            "epoch": 1,
            "chosen": "last",
            "threshold": 0.5,
            "last": choice,
            "selected": None,
            "published": choice,
            "drawn": True,
            "train_frames": 3,
            "train_subjects": bench.subjects[:2],
            "config": config,
            "benchmark": bench,
            "crops": None,
        },
    )
    return where / name


def _read_final(path: Path) -> None:
    """Damaged weights as if somebody had made their hash fit."""
    if path.name == "model.safetensors":
        card = path.parent / "model.json"
        card.write_text(json.dumps({**json.loads(card.read_text()), "weights_sha256": sha256(path)}))
    _one_sentence(lambda path: load_trained(path.parent), path)


PARTS = ("manifest.json", "model.safetensors", "optimizer.json", "rank-00000.json")
TARGETS = (
    *(Target(f"checkpoint-{part}", partial(_checkpoint, part), _read_checkpoint) for part in PARTS),
    Target("log", _log, _read_log),
    Target("final-card", partial(_final, "model.json"), _read_final),
    Target("final-weights", partial(_final, "model.safetensors"), _read_final),
    Target("weights-pth", _pth, partial(_one_sentence, read_weights)),
    Target("weights-old-pth", _old_pth, partial(_one_sentence, read_weights)),
    Target("weights-safetensors", _safetensors, partial(_one_sentence, read_weights)),
    Target("predictions", _predictions, partial(_one_sentence, read_predictions)),
    Target("fold-json", _json, partial(_one_sentence, read_fold)),
    Target("card-json", _json, partial(_one_sentence, partial(read_json, remedy="copy it again"))),
)
