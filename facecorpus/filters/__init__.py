"""Filters: a record is kept, or there is a reason. Each is one file here, with its reason and its limits.

They look at what is known of a record, at four stages: "listed" before the file is read, "header" before any
pixel is decoded, "faces" after detection, "crop" on the finished crop. A module that is named in FACE_PLUGINS
adds its own with `rejects`.
"""

from __future__ import annotations

import importlib
import pkgutil

from facecorpus.filters.base import FILTERS, LIMITS, Limit, Limits, Stage, Verdict, judge, measured, rejects

__all__ = ["FILTERS", "LIMITS", "Limit", "Limits", "Stage", "Verdict", "judge", "measured", "rejects"]

# The order in which recipes have always listed their limits; `order` says in which filters judge.
_FIRST = "aspect_ratio too_small too_many_pixels no_face face_too_small several_faces face_cut_off brightness"
for _name in dict.fromkeys([*_FIRST.split(), *(module.name for module in pkgutil.iter_modules(__path__))]):
    importlib.import_module(f"{__name__}.{_name}")
