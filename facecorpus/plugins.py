"""What can be chosen by name, and the modules of your own that bring more of it.

The environment variable FACE_PLUGINS names Python modules, joined by commas: dotted names, or paths of `.py`
files. Both commands and the worker processes import them first; a module registers what it brings while it is
imported:

    from facecorpus.sources.base import Part, Source, adapter

    @adapter("mugshots")
    class Mugshots(Source): ...
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import pkgutil
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from facecorpus.errors import UserError, in_a_line

VARIABLE = "FACE_PLUGINS"
MORE = f"a module named by {VARIABLE} may bring more"

Thing = TypeVar("Thing")
Registered = TypeVar("Registered")


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint for a misspelt name: the nearest of `names`, or all of them.

    >>> nearest("celeb", ["celeba", "disfa"]), nearest("x", ["celeba", "disfa"])
    ("did you mean 'celeba'?", 'known: celeba, disfa')
    """
    known = sorted(names)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"


class Registry(Generic[Thing]):
    """Things of one kind by name, in the order in which they were registered."""

    def __init__(self, missing: str, package: str | None = None) -> None:
        """An empty registry.

        Args:
            missing: what to say of a name that is not known, `{}` standing for it: "there is no detector {}".
            package: dotted name of a package whose modules register things; they are imported when
                something is looked for.
        """
        self._missing = missing
        self._package = package
        self._things: dict[str, Thing] = {}

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """Decorator that gives a function or class its name.

        Raises:
            UserError: the name is taken.
        """

        def add(thing: Registered) -> Registered:
            if name in self._things:
                raise UserError(f"{name!r} is registered twice; give what {VARIABLE} brings another name")
            things: dict[str, Any] = self._things
            things[name] = thing
            return thing

        return add

    def get(self, name: str) -> Thing:
        """What is called `name`.

        Raises:
            UserError: nothing is; the nearest name is given, or all of them.
        """
        known = self._known()
        if name not in known:
            hint = nearest(name, known)
            more = "" if hint.endswith("?") else f" ({MORE})"
            raise UserError(f"{self._missing.format(name)}; {hint}{more}")
        return known[name]

    def __contains__(self, name: str) -> bool:
        return name in self._known()

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def _known(self) -> dict[str, Thing]:
        if self._package is not None:
            package, self._package = importlib.import_module(self._package), None
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{package.__name__}.{module.name}")
        return self._things


def load() -> None:
    """Import the modules that FACE_PLUGINS names, each once in a process.

    Raises:
        UserError: one cannot be imported.
    """
    for entry in filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))):
        try:
            if entry.endswith(".py"):
                _import_file(Path(entry).absolute())
            else:
                importlib.import_module(entry)
        except Exception as error:
            raise UserError(
                f"{VARIABLE} names {entry}, which cannot be imported ({type(error).__name__}: "
                f"{in_a_line(error)}); mend it, or take it out of {VARIABLE}"
            ) from error


def _import_file(path: Path) -> None:
    """Import a file under a name that its place makes, so that what it defines pickles to other processes."""
    name = f"face_plugin_{zlib.crc32(bytes(path)):08x}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if name in sys.modules or spec is None or spec.loader is None:
        return
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
