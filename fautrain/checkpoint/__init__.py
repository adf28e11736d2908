"""Checkpoints: directories that are whole or absent, hashed, verified before use, with no pickle in them.

`RUN/checkpoints/step-00001200/` holds the weights (`model.safetensors`), the optimizer's and the loader's
state, every rank's random number generators, the configuration and the versions; `manifest.json` names each
file with its size and SHA-256.
"""

from __future__ import annotations

from fautrain.checkpoint.environment import restore_rng, rng_state
from fautrain.checkpoint.manifest import verify
from fautrain.checkpoint.state import State, extra_of, inspect, load, refuse_other_samples
from fautrain.checkpoint.store import FOLDER, latest, pin, pins, save, set_aside_after, step_of, steps
from fautrain.files import step_name

__all__ = [
    "FOLDER",
    "State",
    "extra_of",
    "inspect",
    "latest",
    "load",
    "pin",
    "pins",
    "refuse_other_samples",
    "restore_rng",
    "rng_state",
    "save",
    "set_aside_after",
    "step_name",
    "step_of",
    "steps",
    "verify",
]
