"""From the command line to a source: which adapters there are, and what `[NAME=]ADAPTER[:PATH]` means."""

from __future__ import annotations

import os
import re
from collections.abc import Collection

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.plugins import nearest
from facecorpus.sources.facts import PASSING_ON, Facts, facts
from facecorpus.sources.recognised import adapter_for, looks_like_path, name_of
from facecorpus.sources.source import SOURCES, Source, lies_there

_SPEC = re.compile(r"(?:(?P<name>[^=:/]*)=)?(?P<adapter>[^=:/]*)(?:/(?P<setting>\w+=\w+))?(?::(?P<path>.+))?")
_NAME = re.compile(r"[a-z0-9_]+")


def make_source(
    adapter: str, name: str, location: str, cache: str | None = None, setting: str = ""
) -> Source:
    """The source called `name` at `location`; see `Source` and its `configure` for the arguments.

    Raises:
        UserError: there is no such adapter, or it has no such setting.
    """
    source = _class(adapter)(name, location, cache)
    source.configure(setting)
    return source


def _class(adapter: str) -> type[Source]:
    if adapter in facts() and adapter not in SOURCES:
        title = facts()[adapter].title
        raise UserError(f"{title} is known but has no adapter; folder and archive read any images")
    return SOURCES.get(adapter)


def parse_spec(
    spec: str, root: str | None = None, cache: str | None = None, taken: Collection[str] = ()
) -> Source:
    """The source that `[NAME=]ADAPTER[/SETTING=VALUE][:PATH]` means, for example `celeba` or
    `photos=archive:photos.tar`; or a path alone, `[NAME=]PATH`, whose adapter is found by what lies there.

    Args:
        spec: NAME defaults to ADAPTER (of a path alone, to one made from it); PATH to ADAPTER, and is
            relative to ROOT unless absolute or a URL.
        root: the folder that holds the raw data sets.
        cache: given to the source.
        taken: names that one made from a path must not have; it gets a number then.

    Raises:
        UserError: the spec has another form, the adapter is unknown, or nothing lies at the path.
    """
    match = _SPEC.fullmatch(spec.strip())
    known = match is not None and (match["adapter"] in SOURCES or match["adapter"] in facts())
    if not known and (plain := _plain_path(spec.strip(), root, cache, taken)) is not None:
        return plain
    if match is None:
        raise UserError(
            f"source {spec!r} has not the form [NAME=]ADAPTER[:PATH], as in photos=archive:photos.tar, and "
            "is no path to a folder or archive either"
        )
    adapter = match["adapter"]
    name = match["name"] if match["name"] is not None else adapter
    if not _NAME.fullmatch(name):
        raise UserError(f"source name {name!r} in {spec!r} may hold only a-z, 0-9 and _")
    _class(adapter)
    location = _location(adapter, match["path"], root, spec)
    source = make_source(adapter, name, location, cache, match["setting"] or "")
    if not storage.exists(source.location):
        above = source.location.rstrip("/").rpartition("/")[0] or "."
        raise UserError(
            f"source {spec!r} looks for {source.location}, which does not exist "
            f"({lies_there(above)}); {source.layout_hint()}"
        )
    return source


def _plain_path(spec: str, root: str | None, cache: str | None, taken: Collection[str]) -> Source | None:
    """The source that a path alone means, `[NAME=]PATH`; None where `spec` is none.

    Relative paths are looked for below ROOT, then below the working directory.
    """
    before, equals, after = spec.partition("=")
    name, path = (before, after) if equals and _NAME.fullmatch(before) else (None, spec)
    path = os.path.expanduser(path)  # noqa: PTH111 - the shell does it at the beginning of a word alone
    below = (
        path if root is None or "://" in path else storage.join("" if path.startswith("/") else root, path)
    )
    found = next((place for place in (below, path) if storage.exists(place)), None)
    if found is None:
        if not looks_like_path(path):
            return None
        above = below.rstrip("/").rpartition("/")[0] or "."
        raise UserError(f"nothing lies at {below} ({lies_there(above)}); check the path")
    return make_source(adapter_for(found), name or name_of(found, taken), found, cache)


def _location(adapter: str, path: str | None, root: str | None, spec: str) -> str:
    path = path if path is not None else adapter
    if "://" in path or path.startswith("/"):
        return path
    if root is None:
        raise UserError(f"source {spec!r} is relative to a root folder, but none is given; add --root")
    if not storage.is_dir(root):
        raise UserError(
            f"the root folder {root} does not exist or is no folder; give the folder that holds {path}"
        )
    return storage.join(root, path)


def describe(name: str | None = None) -> str:
    """All data sets, a line each, or everything known of one, as text.

    Raises:
        UserError: nothing is known under that name.
    """
    if name is None:
        lines = [_line(known) for known in facts().values()]
        return "\n".join(
            [*lines, "", "'facecorpus sources NAME' shows one in full; * is read by an adapter."]
        )
    if name not in facts():
        raise UserError(f"no data set {name!r} is known; {nearest(name, facts())}")
    return _page(facts()[name])


def _line(known: Facts) -> str:
    mark = "*" if known.name in SOURCES else " "
    images = f"{known.images:,} images" if known.images else ""
    identities = f"{known.identities:,} identities" if known.identities else ""
    return f"{mark} {known.name:16s} {known.title:34s} {images:>18s} {identities:>18s}".rstrip()


def _settings(name: str) -> str | None:
    if name not in SOURCES:
        return None
    lines = [
        f"{name}/{setting}={value}:PATH if {meaning}"
        for setting, values in SOURCES.get(name).settings.items()
        for value, meaning in values.items()
    ]
    return ("\n" + " " * 14).join(lines) or None


def _page(known: Facts) -> str:
    if known.name in SOURCES:
        use = f"--sources {known.name}  (below --root), or --sources NAME={known.name}:PATH"
    else:
        use = f"no adapter; {known.name}=folder:PATH or {known.name}=archive:PATH takes its images alone"
    fields = {
        "images": f"{known.images:,}" if known.images else None,
        "identities": f"{known.identities:,}" if known.identities else None,
        "bytes": f"{known.bytes:,}" if known.bytes else None,
        "pixels": known.pixels,
        "layout": known.layout.strip().replace("\n", "\n" + " " * 14),
        "terms": known.terms,
        "passing on": PASSING_ON[known.redistribution],
        "availability": known.availability,
        "caution": known.caution,
        "page": known.url,
        "citation": known.citation,
        "use": use,
        "settings": _settings(known.name),
    }
    shown = [f"{label:13s} {text}" for label, text in fields.items() if text]
    warning = (
        ["", "Meant for evaluation: training on it spoils the measure."] if known.evaluation_only else []
    )
    return "\n".join([known.title, *shown, *warning])
