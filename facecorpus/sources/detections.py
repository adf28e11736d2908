"""LAION-Face's faces, `sample2detect_N.pth`: a pickle of {number: [(box, points, score), ...]} in a zip.

A pickle is a program, and this one is never run. The few instructions that put numbers, texts, lists, tuples
and NumPy's arrays of numbers together are followed here, one by one, and every other is refused; the pairs of
the dictionary are given out as they come, so that memory does not grow with the file.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from facecorpus import storage
from facecorpus.errors import UserError, in_a_line

FACE = 15
"""Numbers of a face: box x0, y0, x1, y1, five points, score."""
_MOST_FACES = 1000
_MOST_STACK = 1 << 18
_LONGEST = 1 << 12
_CHUNK = 1 << 20
_DAMAGE = (
    *(zipfile.BadZipFile, struct.error, EOFError, MemoryError, StopIteration, RuntimeError),
    *(ValueError, TypeError, LookupError, OverflowError, NotImplementedError),
)
_CODES = {"f2": "e", "f4": "f", "f8": "d", "i4": "i", "i8": "q", "u1": "B"}
_OP = {name: value[0] for name, value in vars(pickle).items() if isinstance(value, bytes) and value}

Floats = npt.NDArray[np.float32]


class Detections:
    """Faces by the number of the sample, in arrays."""

    def __init__(self, samples: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], faces: Floats) -> None:
        """Index them.

        Args:
            samples: (N,) numbers, each once.
            counts: (N,) faces of each.
            faces: (sum of counts, FACE) numbers.
        """
        order = np.argsort(samples, kind="stable")
        ends = np.cumsum(counts)
        self._samples, self._ends, self._counts = samples[order], ends[order], counts[order]
        self._faces = faces

    def of(self, sample: int) -> Floats:
        """(faces, FACE) of a sample; none where it is not known."""
        place = int(np.searchsorted(self._samples, sample))
        if place == len(self._samples) or self._samples[place] != sample:
            return self._faces[:0]
        end = int(self._ends[place])
        return self._faces[end - int(self._counts[place]) : end]


def read_detections(url: str) -> Detections:
    """The faces in a file that torch.save wrote.

    Raises:
        UserError: it is no such file, or holds anything but numbers.
    """
    try:
        with storage.open_read(url) as stream, zipfile.ZipFile(stream) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as inner:
                return _compact(pairs(cast(BinaryIO, inner)))
    except _DAMAGE as error:
        raise UserError(
            f"{url} is not LAION-Face's file of detections ({in_a_line(error)}); get it again, or move it "
            "away to have all faces found anew"
        ) from error
    except OSError as error:
        raise UserError(f"{url} cannot be read ({error.strerror or error}); mend its permissions") from error


def _compact(found: Iterator[tuple[Any, Any]]) -> Detections:
    samples, counts, values = io.BytesIO(), io.BytesIO(), io.BytesIO()
    for number, said in found:
        if not isinstance(number, int) or not isinstance(said, list):
            raise ValueError(f"what stands for {number!r:.40} is no list of faces")
        faces = cast(list[Any], said)
        if len(faces) > _MOST_FACES:
            raise ValueError(f"{number} has {len(faces)} faces")
        for face in faces:
            values.write(_face(face))
        samples.write(struct.pack("<q", number))
        counts.write(struct.pack("<q", len(faces)))
    rows = np.frombuffer(values.getvalue(), np.float32).reshape(-1, FACE)
    numbers, lengths = (np.frombuffer(each.getvalue(), np.int64) for each in (samples, counts))
    return Detections(numbers, lengths, rows)


def _face(said: Any) -> bytes:
    box, points, score = said
    values = (*_floats(box), *_floats(points), *_floats(score))
    packed = struct.pack(f"<{FACE}f", *values)
    if not all(-1e6 < value < 1e6 for value in values):
        raise ValueError("a face lies beyond all pictures")
    return packed


def _floats(said: Any, depth: int = 0) -> Iterator[float]:
    if isinstance(said, _Array):
        yield from said.values
    elif isinstance(said, list | tuple) and depth < 3:
        for each in cast(list[Any], said)[:FACE]:
            yield from _floats(each, depth + 1)
    else:
        yield float(cast(Any, said))


class _Array:
    """Stands for numpy.ndarray."""

    __slots__ = ("values",)

    def __init__(self, *_: Any) -> None:
        self.values: tuple[float, ...] = ()

    def build(self, state: Any) -> None:
        _, shape, kind, columns_first, data = state
        if not isinstance(kind, _Type) or not isinstance(data, bytes):
            raise TypeError("an array has no type or no bytes")
        self.values = kind.read(data)
        if columns_first and len(shape) == 2:
            self.values = tuple(np.array(self.values).reshape(shape, order="F").ravel().tolist())


class _Type:
    """Stands for numpy.dtype."""

    __slots__ = ("code", "order")

    def __init__(self, kind: Any, *_: Any) -> None:
        self.code, self.order = _CODES[kind], "<"

    def build(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def read(self, data: bytes) -> tuple[float, ...]:
        if len(data) > 8 * FACE:
            raise ValueError("an array holds more than a face has")
        return struct.unpack(f"{self.order}{len(data) // struct.calcsize(self.code)}{self.code}", data)


def _scalar(kind: Any, data: bytes) -> float:
    if not isinstance(kind, _Type):
        raise TypeError("a number has no type")
    return kind.read(data)[0]


def _encoded(text: Any, encoding: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError("it encodes what is no text")
    return text.encode("latin1" if encoding == "latin1" else "ascii")


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encoded,
    **{
        (module, name): stand_in
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name, stand_in in (("_reconstruct", _Array), ("scalar", _scalar))
    },
}


class _Outer:
    """Stands for the dictionary."""


def _may_recur(value: Any) -> bool:
    """Whether a file may mean this again after the pairs before it were given out: names, types, functions.

    What it has meant twice before is kept in any case.
    """
    if isinstance(value, str):
        return value.isascii() and value.isprintable()
    return isinstance(value, (type, FunctionType, _Type, _Outer))


def pairs(stream: BinaryIO) -> Iterator[tuple[Any, Any]]:
    """Keys and values of the dictionary that a pickle (protocol 2 to 4) would make.

    Raises:
        ValueError, TypeError, LookupError, struct.error: it would make, or do, anything else.
    """
    machine = _Machine(stream)
    while not machine.ended:
        machine.step()
        if machine.pairs:
            yield from machine.pairs
            machine.forget()


class _Machine:
    """Follows instructions; see the module."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._data, self._at = b"", 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._memoized = 0
        self._recalled: set[int] = set()
        self.pairs: list[tuple[Any, Any]] = []
        self.ended = False

    def forget(self) -> None:
        """Let go of the pairs, and of all that was remembered but what later ones use too."""
        self.pairs = []
        self._memo = {k: v for k, v in self._memo.items() if k in self._recalled or _may_recur(v)}

    def step(self) -> None:
        """Follow instructions until there are pairs, or the end."""
        stack, do = self._stack, _DO
        while not self.pairs and not self.ended:
            if len(self._data) - self._at < 2 * _LONGEST:
                self._data, self._at = self._data[self._at :] + self._stream.read(_CHUNK), 0
            if self._at >= len(self._data) or len(stack) > _MOST_STACK:
                raise ValueError("it is cut short, or heaps up more than it uses")
            instruction = self._data[self._at]
            self._at += 1
            do[instruction](self)

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if not 0 <= count <= _LONGEST:
            raise ValueError(f"a text of {count} bytes")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def since_mark(self) -> list[Any]:
        first = self._marks.pop()
        found = self._stack[first:]
        del self._stack[first:]
        return found

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def remember(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def memoize(self) -> None:
        self._memo[self._memoized] = self._stack[-1]
        self._memoized += 1

    def recall(self, place: int) -> None:
        self._recalled.add(place)
        self._stack.append(self._memo[place])

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def tuple_of(self, count: int) -> None:
        found = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._stack.append(found)

    def dictionary(self) -> None:
        if self._stack:
            raise ValueError("a dictionary in the dictionary")
        self._stack.append(_Outer())

    def append(self, values: list[Any]) -> None:
        held = self._stack[-1]
        if not isinstance(held, list):
            raise TypeError("it appends to what is no list")
        cast(list[Any], held).extend(values)

    def set(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], _Outer):
            raise TypeError("it fills what is no dictionary")
        self.pairs = list(zip(values[::2], values[1::2], strict=True))

    def pop(self, count: int) -> list[Any]:
        found = self._stack[-count:]
        del self._stack[-count:]
        return found

    def named(self, module: str, name: str) -> None:
        if (module, name) not in _STAND_INS:
            raise ValueError(f"it asks for {module[:40]}.{name[:40]}, which is not run")
        self._stack.append(_STAND_INS[module, name])

    def line(self) -> str:
        end = self._data.index(b"\n", self._at, self._at + _LONGEST)
        text = self._data[self._at : end].decode("ascii")
        self._at = end + 1
        return text

    def call(self) -> None:
        stand_in, arguments = self.pop(2)
        if not any(stand_in is known for known in _STAND_INS.values()):
            raise TypeError("it calls what is no function")
        self._stack.append(stand_in(*arguments))

    def build(self) -> None:
        state = self._stack.pop()
        if not isinstance(self._stack[-1], _Array | _Type):
            raise TypeError("it completes what is no array")
        self._stack[-1].build(state)

    def end(self) -> None:
        if len(self._stack) != 1 or not isinstance(self._stack[0], _Outer):
            raise ValueError("it does not hold a dictionary")
        self.ended = True


_DO: dict[int, Callable[[_Machine], Any]] = {
    _OP["PROTO"]: lambda m: m.take(1),
    _OP["FRAME"]: lambda m: m.take(8),
    _OP["STOP"]: _Machine.end,
    _OP["MARK"]: _Machine.mark,
    _OP["NONE"]: lambda m: m.push(None),
    _OP["NEWTRUE"]: lambda m: m.push(True),
    _OP["NEWFALSE"]: lambda m: m.push(False),
    _OP["BININT"]: lambda m: m.push(m.number("<i")),
    _OP["BININT1"]: lambda m: m.push(m.take(1)[0]),
    _OP["BININT2"]: lambda m: m.push(m.number("<H")),
    _OP["LONG1"]: lambda m: m.push(int.from_bytes(m.take(m.take(1)[0]), "little", signed=True)),
    _OP["BINFLOAT"]: lambda m: m.push(m.number(">d")),
    _OP["BINUNICODE"]: lambda m: m.push(m.take(m.number("<I")).decode()),
    _OP["SHORT_BINUNICODE"]: lambda m: m.push(m.take(m.take(1)[0]).decode()),
    _OP["BINBYTES"]: lambda m: m.push(m.take(m.number("<I"))),
    _OP["SHORT_BINBYTES"]: lambda m: m.push(m.take(m.take(1)[0])),
    _OP["EMPTY_TUPLE"]: lambda m: m.push(()),
    _OP["TUPLE"]: lambda m: m.push(tuple(m.since_mark())),
    _OP["TUPLE1"]: lambda m: m.tuple_of(1),
    _OP["TUPLE2"]: lambda m: m.tuple_of(2),
    _OP["TUPLE3"]: lambda m: m.tuple_of(3),
    _OP["EMPTY_LIST"]: lambda m: m.push([]),
    _OP["APPEND"]: lambda m: m.append(m.pop(1)),
    _OP["APPENDS"]: lambda m: m.append(m.since_mark()),
    _OP["EMPTY_DICT"]: _Machine.dictionary,
    _OP["SETITEM"]: lambda m: m.set(m.pop(2)),
    _OP["SETITEMS"]: lambda m: m.set(m.since_mark()),
    _OP["BINPUT"]: lambda m: m.remember(m.take(1)[0]),
    _OP["LONG_BINPUT"]: lambda m: m.remember(m.number("<I")),
    _OP["MEMOIZE"]: _Machine.memoize,
    _OP["BINGET"]: lambda m: m.recall(m.take(1)[0]),
    _OP["LONG_BINGET"]: lambda m: m.recall(m.number("<I")),
    _OP["GLOBAL"]: lambda m: m.named(m.line(), m.line()),
    _OP["STACK_GLOBAL"]: lambda m: m.named(*m.pop(2)),
    _OP["REDUCE"]: _Machine.call,
    _OP["BUILD"]: _Machine.build,
}
