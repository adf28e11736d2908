"""Typed values from plain data: frozen dataclasses to JSON and back, and single values set by name.

Works on fields of str, bool, int, float, Literal, optional, tuple and `Mapping[str, ...]` types and on
groups: further such dataclasses, or classes whose `plain` gives the annotated values that they are made from.
A field of type Any is taken as it is. Every value is checked against its annotation, ranges included
(`Check`); an unknown name is refused with the nearest known one. Text is read as the type that the annotation
asks for, so that `--set train.compile=false` is not a string.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import inspect
import json
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from facecorpus.errors import UserError
from facecorpus.plugins import nearest

Config = TypeVar("Config")


class Check(NamedTuple):
    """What a value must be besides its type: `Annotated[int, Check(...)]`. None is not asked."""

    holds: Callable[[Any], bool]
    words: str
    """What to give instead, as the end of a sentence."""


Positive = Annotated[int, Check(lambda v: v >= 1, "a number of at least 1")]


@dataclasses.dataclass(frozen=True)
class Checked:
    """A dataclass whose values are checked when it is made, by the `Check` of each field's annotation."""

    group = ""
    """Its dotted name in a whole configuration, for messages."""

    def __post_init__(self) -> None:
        """Refuse what a check does not hold for.

        Raises:
            UserError: as the message says.
        """
        for name, check in _checks(type(self)):
            value = getattr(self, name)
            if value is not None and not check.holds(value):
                shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
                raise UserError(f"{self.group}{'.' * bool(self.group)}{name}={shown}; give {check.words}")


@functools.cache
def _checks(cls: type[Checked]) -> list[tuple[str, Check]]:
    """(field, check) of the class' annotations, those within an optional type included."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return [
        (name, mark)
        for name, hint in hints.items()
        for part in (hint, *typing.get_args(hint))
        for mark in getattr(part, "__metadata__", ())
        if isinstance(mark, Check)
    ]


def described(config: Any, prefix: str = "") -> Iterable[tuple[str, str, str]]:
    """(dotted name, value as for `--set`, docstring) of every value of a dataclass and of those in it."""
    docs = _field_docs(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from described(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, _text(value), docs.get(field.name, "")


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, typing.cast(tuple[Any, ...], value)))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _field_docs(cls: type[Any]) -> dict[str, str]:
    """The text under each field, from the source of the class and of those it extends."""
    docs: dict[str, str] = {}
    for base in reversed([base for base in cls.__mro__ if dataclasses.is_dataclass(base)]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in zip(definition.body, definition.body[1:], strict=False):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                    docs[name] = " ".join(doc.split())
                case _:
                    pass
    return docs


def to_plain(config: Any) -> dict[str, Any]:
    """Dataclass `config` as JSON-able data: groups become dicts, tuples lists."""
    plain = json.dumps(dataclasses.asdict(config), default=lambda group: group.plain())
    return typing.cast(dict[str, Any], json.loads(plain))


def build(cls: type[Config], data: Any, path: str = "") -> Config:
    """An instance of dataclass `cls` from plain data; `path` is its dotted name, for messages.

    Raises:
        UserError: a value is unknown, missing, or of the wrong type or range.
    """
    return typing.cast(Config, _build(cls, data, path))


def refuse_unknown(names: Iterable[str], known: Iterable[str], dot: str = "") -> None:
    """Raises a UserError for the first of `names` that is not `known`; `dot` stands before it."""
    unknown = sorted({str(name) for name in names} - {*known})
    if unknown:
        raise UserError(f"{dot}{unknown[0]} is no value of the configuration; {nearest(unknown[0], known)}")


def override(config: Config, settings: Iterable[str]) -> Config:
    """Dataclass `config` with `name=value` settings applied, nested names joined by dots.

    A group is set by a JSON object, which leaves what it does not name at its defaults, or where it may be
    off by `none`.

    Raises:
        UserError: a setting is no `name=value`, names nothing, or its value is of the wrong type or range.
    """
    data = to_plain(config)
    leaves = leaf_names(type(config))
    for setting in settings:
        path, mark, text = map(str.strip, setting.partition("="))
        if not mark:
            raise UserError(f"--set {setting}: write it as NAME=VALUE")
        whole = _whole_group(text)
        if path not in leaves and not (whole and any(leaf.startswith(f"{path}.") for leaf in leaves)):
            raise UserError(f"--set {setting}: there is no value {path!r}; {_leaf_hint(path, leaves)}")
        *groups, last = path.split(".")
        target = data
        for depth, name in enumerate(groups, 1):
            target = target[name]
            if target is None:
                group = ".".join(groups[:depth])
                raise UserError(
                    f"--set {setting}: {group} is off in this recipe, so this would change nothing; leave it "
                    f"out, or put --set {group}={{}} before it, which turns {group} on"
                )
        target[last] = text if path in leaves else whole[0]
        if isinstance(target[last], dict):
            data = to_plain(build(type(config), data))
    return build(type(config), data)


def _whole_group(text: str) -> list[Any]:
    """What a group may be set to, as one item: a JSON object or none; else nothing."""
    try:
        found = None if text == "none" else json.loads(text)
    except ValueError:
        return []
    return [found] if found is None or isinstance(found, dict) else []


def _leaf_hint(path: str, leaves: list[str]) -> str:
    """Which of the dotted names `path` may have meant, always in full."""
    members = [leaf for leaf in leaves if leaf.startswith(f"{path}.")]
    if members:
        return f"it is a group of {', '.join(members)}"
    group, _, last = path.rpartition(".")
    # Within a known group the names alone are compared: the common beginning would make all of them alike.
    members = [leaf for leaf in leaves if group and leaf.startswith(f"{group}.")]
    names = {leaf.rpartition(".")[2]: leaf for leaf in members}
    for near in (
        [leaf for leaf in leaves if leaf.rpartition(".")[2] == last],
        [names[name] for name in difflib.get_close_matches(last, names, n=1)],
        [] if members else difflib.get_close_matches(path, leaves, n=1),
        [leaf for leaf in leaves if leaf.rpartition(".")[2].startswith(last)],
    ):
        if near:
            return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(sorted(members or leaves))}"


def leaf_names(cls: Any, prefix: str = "") -> list[str]:
    """Dotted names of all values below dataclass `cls`."""
    names: list[str] = []
    for name, hint in typing.get_type_hints(cls).items():
        group = _group(hint)
        names += leaf_names(group, f"{prefix}{name}.") if group else [prefix + name]
    return names


def _group(hint: Any) -> Any:
    """The class, of annotated values, that `hint` is or that it allows besides None; None for others."""
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    kinds = typing.get_args(hint) if union else (hint,)
    return next((kind for kind in kinds if isinstance(kind, type) and typing.get_type_hints(kind)), None)


def _build(cls: Any, data: Any, path: str) -> Any:
    if not isinstance(data, Mapping):
        raise UserError(f"{path or 'the configuration'} is {data!r}; give a group of values")
    hints = typing.get_type_hints(cls)
    dot = f"{path}." if path else ""
    refuse_unknown(data, hints, dot)
    needed = [p.name for p in inspect.signature(cls).parameters.values() if p.default is p.empty]
    missing = [name for name in needed if name in hints and name not in data]
    if missing:
        raise UserError(f"{dot}{missing[0]} is missing from the configuration; give it a value")
    return cls(**{name: _convert(hints[name], item, dot + name) for name, item in data.items()})


def _convert(hint: Any, value: Any, path: str) -> Any:
    """`value`, as read from JSON or typed as text, as the annotated type `hint`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if _group(hint) is hint:
        return value if isinstance(value, hint) else _build(hint, value, path)
    if origin is Mapping and isinstance(value, Mapping):
        return {key: _convert(arguments[1], item, f"{path}.{key}") for key, item in value.items()}
    if origin in (types.UnionType, typing.Union):
        return _convert_union(arguments, value, path)
    if origin is Literal:
        if value in arguments:
            return value
        raise UserError(f"{path}={value!r}; give one of {', '.join(map(str, arguments))}")
    if origin is tuple:
        return _convert_tuple(arguments, value, path)
    return _convert_scalar(hint, value, path)


def _convert_union(arguments: tuple[Any, ...], value: Any, path: str) -> Any:
    nothing = value is None or (isinstance(value, str) and value.lower() in ("none", "null"))
    if type(None) in arguments and nothing:
        return None
    kinds = [a for a in arguments if a is not type(None)]
    for kind in kinds:
        try:
            return _convert(kind, value, path)
        except UserError:
            if kind is kinds[-1] and len(kinds) == 1:
                raise
    words = [w for k in kinds for w in (("true", "false") if k is bool else map(str, typing.get_args(k)))]
    raise UserError(f"{path}={value!r}; give one of {', '.join(words)}")


def _convert_tuple(arguments: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = [item.strip(" \"'") for item in value.strip("[]()").split(",") if item.strip()]
    if not isinstance(value, (list, tuple)):
        value = [value]
    items = typing.cast(list[Any], value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_convert(arguments[0], item, path) for item in items)
    if len(items) != len(arguments):
        raise UserError(f"{path} has {len(items)} values; give {len(arguments)}, joined by commas")
    return tuple(_convert(hint, item, path) for hint, item in zip(arguments, items, strict=True))


def _convert_scalar(hint: type, value: Any, path: str) -> Any:
    """A str, bool, int or float; text is read as the type, so that `--set a.b=false` is not a true string."""
    if hint is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if hint in (int, float) and isinstance(value, str):
        try:
            return hint(value)
        except ValueError:
            pass
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise UserError(f"{path}={value!r}; give {words[hint]}")
    return value
