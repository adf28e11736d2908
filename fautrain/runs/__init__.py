"""A run: a folder, a resolved configuration, a task, loaders and the loop."""

from __future__ import annotations

from fautrain.runs.pretrain import pretrain, training_loader

__all__ = ["pretrain", "training_loader"]
