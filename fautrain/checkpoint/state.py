"""What a checkpoint holds: writing it, reading it, and telling it in words."""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from facecorpus.errors import UserError
from fautrain.checkpoint.codec import decode, encode, plain_tensor
from fautrain.checkpoint.disk import write_json, write_tensors
from fautrain.checkpoint.manifest import read_manifest, verify
from fautrain.files import MODEL_FILE


@dataclass(frozen=True)
class State:
    """All that a run needs to go on as if nothing had happened.

    Of what ranks other than 0 save, only `rng` is used; the rest may be left empty there. Nested values may
    hold what `fautrain.checkpoint.codec` can write.
    """

    step: int
    """Steps done."""
    model: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """The model's full state dict, plain tensors on any device; read back on the CPU."""
    optimizer: Any = None
    """The optimizer's state dict."""
    loader: Any = None
    """Where the loader stands."""
    counters: Any = None
    """Epoch, samples seen, steps skipped, best loss and the like."""
    extra: Any = None
    """Anything else, such as the state of a loss scaler."""
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The resolved configuration as plain JSON data."""
    rng: Any = None
    """This rank's generators (`rng_state`). Read back None for a rank that did not save."""
    versions: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    """What it was made with; filled in by saving."""
    world: int = 1
    """Ranks that saved; filled in by saving."""


def rank_file(rank: int) -> str:
    """Name, without ending, of the files of one rank."""
    return f"rank-{rank:05d}"


def write_shared(folder: Path, state: State) -> None:
    """Writes the parts that are the same on all ranks."""
    write_tensors(folder / MODEL_FILE, _dense(state.model, "model"))
    write_nested(folder, "optimizer", state.optimizer)
    progress = {"loader": state.loader, "counters": state.counters, "extra": state.extra}
    write_nested(folder, "progress", progress)
    write_json(folder / "config.json", dict(state.config))
    write_json(folder / "versions.json", dict(state.versions))


def write_nested(folder: Path, name: str, value: Any) -> None:
    """Writes a nested value as NAME.json and, where it holds tensors, NAME.safetensors; the JSON last."""
    tensors, tree = encode(value, name)
    if tensors:
        write_tensors(folder / f"{name}.safetensors", tensors)
    write_json(folder / f"{name}.json", tree)


def read_nested(folder: Path, name: str) -> Any:
    """The value that `write_nested` wrote."""
    path = folder / f"{name}.safetensors"
    tensors = load_file(path) if path.is_file() else {}
    return decode(tensors, json.loads((folder / f"{name}.json").read_bytes()))


def load(folder: str | Path, rank: int = 0) -> State:
    """Reads a checkpoint after verifying every byte of it; `rng` is that of `rank`.

    Raises:
        UserError: it is missing, torn or altered; the message names the file at fault.
    """
    folder = Path(folder)
    if faults := verify(folder):
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UserError(
            f"the checkpoint {folder} is not whole: {faults[0]}{more}; "
            "use an older one, or --resume auto, which takes the newest whole one"
        )
    with reading(folder):
        return _read(folder, rank_file(rank))


@contextlib.contextmanager
def reading(folder: Path) -> Generator[None]:
    """Turn what a checkpoint raises whose hashes are right and whose content is not into one sentence.

    Raises:
        UserError: its content is none of ours.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # damaged content raises whatever the place raises that meets it
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"the checkpoint {folder} holds what fautrain does not write ({said}); use another one"
        ) from error


def _read(folder: Path, own: str) -> State:
    """The parts of a checkpoint that was verified."""
    manifest = read_manifest(folder)
    progress = read_nested(folder, "progress")
    return State(
        step=manifest["step"],
        model=_in_order(load_file(folder / MODEL_FILE)),
        optimizer=read_nested(folder, "optimizer"),
        loader=progress["loader"],
        counters=progress["counters"],
        extra=progress["extra"],
        config=json.loads((folder / "config.json").read_bytes()),
        rng=read_nested(folder, own) if f"{own}.json" in manifest["files"] else None,
        versions=json.loads((folder / "versions.json").read_bytes()),
        world=manifest["world"],
    )


def extra_of(folder: Path) -> Any:
    """`State.extra` of a checkpoint that was verified before."""
    with reading(folder):
        return read_nested(folder, "progress")["extra"]


def refuse_other_samples(step: int, extra: Any, corpus: str) -> None:
    """Raise a UserError unless a checkpoint's `extra` says that its run saw the samples of `corpus`."""
    if extra["corpus"] != corpus:
        raise UserError(
            f"the checkpoint at step {step} is of a run on other samples than --shards holds now; "
            "give the same shards, or begin a new run with another --out"
        )


def _dense(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    return {name: plain_tensor(tensor, f"{group}.{name}") for name, tensor in tensors.items()}


def _in_order(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensors[name] for name in sorted(tensors)}


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
    lines.append(f"model      {_tensors(folder / MODEL_FILE)}")
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
