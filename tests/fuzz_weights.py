"""Readers of files that fautrain is given or wrote: weights, predictions, results, a final model's card."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from fuzzing import Target, sentence
from safetensors.torch import save_file

from fautrain.errors import UserError
from fautrain.evaluation import Header, Predictions, read_fold, read_predictions, write_predictions
from fautrain.models.weights import read_weights
from fautrain.plain import read_json

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
            Header(dataset="made", aus=(1, 12), epoch=1),
            part=np.array(["test", "test"]),
            key=names,
            subject=names,
            video=names,
            frame=np.array([1, 2], np.int32),
            probability=np.full((2, 2), 0.5, np.float32),
            target=np.ones((2, 2), np.float32),
        ),
    )


def _json(folder: Path) -> Path:
    path = folder / "model.json"
    path.write_text(json.dumps({"format": 1, "mean": [0.5, 1e-3], "aus": ["AU1"], "notes": None}))
    return path


TARGETS = (
    Target("weights-pth", _pth, partial(_one_sentence, read_weights)),
    Target("weights-old-pth", _old_pth, partial(_one_sentence, read_weights)),
    Target("weights-safetensors", _safetensors, partial(_one_sentence, read_weights)),
    Target("predictions", _predictions, partial(_one_sentence, read_predictions)),
    Target("fold-json", _json, partial(_one_sentence, read_fold)),
    Target("card-json", _json, partial(_one_sentence, partial(read_json, remedy="copy it again"))),
)
