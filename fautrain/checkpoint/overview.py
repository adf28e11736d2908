"""A checkpoint in words, for `fautrain checkpoint inspect`."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, cast

from safetensors import safe_open

from fautrain.checkpoint.manifest import read_manifest, verify
from fautrain.checkpoint.state import read_nested, reading
from fautrain.errors import UserError


def inspect(folder: str | Path) -> str:
    """What the checkpoint holds, in lines for a person. Verifies it; faults come first.

    Raises:
        UserError: there is no such directory.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such checkpoint; give the path of a step-... directory")
    faults = verify(folder)
    if faults:
        return "\n".join([f"{folder}: NOT WHOLE", *(f"  {fault}" for fault in faults)])
    with reading(folder):
        return _described(folder)


def _described(folder: Path) -> str:
    manifest = read_manifest(folder)
    files = manifest["files"]
    total = sum(entry["bytes"] for entry in files.values())
    lines = [f"{folder}: whole, step {manifest['step']:,}, {manifest['world']} rank(s), {_size(total)}"]
    config = json.loads((folder / "config.json").read_bytes())
    lines.append(f"recipe     {config.get('name', '-')}")
    lines.append(f"model      {_tensors(folder / 'model.safetensors')}")
    progress = read_nested(folder, "progress")
    lines += [f"{name:<10} {_words(progress[name])}" for name in ("counters", "loader") if progress[name]]
    versions = json.loads((folder / "versions.json").read_bytes())
    lines.append(f"made with  {', '.join(f'{k} {v}' for k, v in versions.items() if v)}")
    lines.append("files")
    lines += [f"  {e['sha256'][:12]}  {_size(e['bytes']):>10}  {name}" for name, e in files.items()]
    return "\n".join(lines)


def _tensors(path: Path) -> str:
    """Counts of tensors and values, and the types, from the file's header alone."""
    kinds: Counter[str] = Counter()
    count = 0
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        for name in names:
            part = file.get_slice(name)
            size = math.prod(part.get_shape())
            kinds[str(part.get_dtype())] += size
            count += size
    return f"{len(names)} tensors, {count:,} values ({', '.join(sorted(kinds))})"


def _words(value: Any) -> str:
    """A nested value on a line, long parts shortened."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in cast(dict[Any, Any], value).items())
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _size(count: float) -> str:
    """Bytes in words."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.2f} GB"
