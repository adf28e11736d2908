"""What lies below a root folder: which data sets in a layout that their adapters know, and what else."""

from __future__ import annotations

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.sources.facts import PASSING_ON, Facts, facts
from facecorpus.sources.recognised import adapter_for, name_of
from facecorpus.sources.recordings import listed
from facecorpus.sources.registry import make_source
from facecorpus.sources.source import SOURCES

_MOST_OTHERS = 20


def survey(root: str) -> str:
    """Every data set, with whether its layout is found below `root`, and what else there can be read.

    Raises:
        UserError: `root` is no folder.
    """
    if not storage.is_dir(root):
        raise UserError(f"--root {root} is no folder; give the one that holds the data sets")
    states = {name: _state(name, storage.join(root, name)) for name in facts()}
    width = max(len(state) for state in states.values() if len(state) < 40)
    lines = [line for name, state in states.items() for line in _lines(facts()[name], state, width)]
    found = [name for name, state in states.items() if state.startswith("found")]
    lines += [
        "",
        f"{len(found)} of {len(states)} are found below {root}" + (f": {','.join(found)}" if found else ""),
    ]
    return "\n".join([*lines, *_others(root)])


def _state(name: str, location: str) -> str:
    """Whether the adapter finds its data set at a place: in parts that can be opened and hold something."""
    if name not in SOURCES:
        return "no adapter"
    if not storage.exists(location):
        return "not there"
    try:
        source = make_source(name, name, location)
        parts = source.parts()
        with source.open(parts[0].container, parts[0].under) as container:
            if next(container.members(), None) is None:
                return f"another layout: {location} holds no files"
    except (UserError, OSError) as error:
        return f"another layout: {error}"
    return f"found: {listed([storage.join(part.container, part.under) or '.' for part in parts])}"


def _lines(known: Facts, state: str, width: int) -> list[str]:
    images = f"{known.images:,} images" if known.images else ""
    identities = f"{known.identities:,} identities" if known.identities else ""
    about = [known.terms, PASSING_ON[known.redistribution], known.availability, known.url or ""]
    return [
        f"{known.name:16s} {images:>18s} {identities:>18s}  {state:{width}s}".rstrip(),
        f"    {'; '.join(filter(None, about))}",
    ]


def _others(root: str) -> list[str]:
    """What lies in the root folder under other names, and how a build reads it."""
    names = [name for name in storage.list_dir(root) if name.rstrip("/") not in SOURCES]
    specs: list[str] = []
    for name in names[:_MOST_OTHERS]:
        if not name.startswith((".", "_")):
            try:
                adapter = adapter_for(storage.join(root, name.rstrip("/")))
            except (UserError, OSError):
                continue
            specs.append(
                f"    --sources ./{name.rstrip('/')}  ({name_of(name)}={adapter}:{name.rstrip('/')})"
            )
    return ["besides, these can be read:", *specs] if specs else []
