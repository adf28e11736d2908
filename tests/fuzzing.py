"""Damaged bytes for every reader of both packages: behind `test_fuzz.py` and `tools/fuzz_readers.py`.

The readers stand in `fuzz_<area>.py` beside this file, each with a tuple `TARGETS`. The rule that is tested:
whatever the bytes, a reader gives a record, a failure with a reason, or one sentence that names the file;
never another exception, more than `SECONDS` a case, or more than `MEMORY` bytes.

Cases run in a child process, one after the other, that the parent watches: a reader that hangs, is killed or
takes the memory costs that case alone. A case is a pure function of (seed, target, number).
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import random
import resource
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent
SECONDS = 20.0
"""Wall-clock time that a case may take, on a machine where others work too."""
MEMORY = 1 << 30
"""Address space that a case may take beyond what the process has when it begins."""


def as_it_is(data: bytes) -> bytes:
    """No outer layer."""
    return data


@dataclass(frozen=True, slots=True)
class Target:
    """A reader and a good file for it."""

    name: str
    write: Callable[[Path], Path]
    """Writes good files into a fresh folder; returns the one that is damaged."""
    read: Callable[[Path], object]
    """Reads all of it. What is documented it catches (see `sentence`); what it raises is a fault."""
    finish: Callable[[bytes], bytes] = as_it_is
    """Makes damaged bytes pass the outermost check (a checksum, a compression), so that what is behind it is
    reached. Half of the cases go without."""


def sentence(error: Exception, path: Path) -> None:
    """Check that an error meant for the user is one line that names the file or its folder."""
    said = str(error)
    assert path.name in said or path.parent.name in said, f"does not name {path.name}: {said[:500]}"
    assert "\n" not in said, f"is more than one line: {said[:500]!r}"
    assert len(said) < 2000, f"is {len(said)} characters long: {said[:500]}"


# -- damage ----------------------------------------------------------------------------------------------

_WORDS = (
    *(b"../", b"/", b"\\", b"\0", b"-1", b"nan", b"-inf", b"1e999", b"99999999999", b"9" * 5000, b"\xff\xfe"),
    *("٣".encode(), "é".encode(), "e\u0301".encode(), b"\xc3", b"\xed\xa0\x80", b"\r\n", b"\n\n", b",", b" "),
    *(b"{", b"]", b'"', b"null", b"PK\x03\x04", b"\x89PNG", b"\xff\xd8\xff", b"%s", b"\x80" + b"\xff" * 11),
)


def _place(rng: random.Random, size: int) -> int:
    """A position, more often near the ends, where structure is."""
    if size <= 1:
        return 0
    near = min(size, 1 << rng.randrange(3, 12))
    choice = rng.random()
    if choice < 0.35:
        return rng.randrange(near)
    return size - 1 - rng.randrange(near) if choice < 0.6 else rng.randrange(size)


def _integer(rng: random.Random) -> bytes:
    width = rng.choice((1, 2, 4, 4, 8))
    top = 1 << (8 * width)
    value = rng.choice((0, 1, 2, top - 1, top - 2, top // 2, top // 2 - 1, top // 4, rng.randrange(top)))
    return value.to_bytes(width, rng.choice(("little", "big")))


def _damage(rng: random.Random, data: bytearray) -> None:
    at = _place(rng, len(data))
    kind = rng.randrange(11)
    if kind == 0:
        data[at : at + 1] = bytes((data[at] ^ (1 << rng.randrange(8)),)) if data else b"\0"
    elif kind == 1:
        data[at : at + 1] = bytes((rng.randrange(256),))
    elif kind in (2, 3):
        number = _integer(rng)
        data[at : at + len(number)] = number
    elif kind == 4:
        del data[at:]
    elif kind == 5:
        del data[at : at + (1 << rng.randrange(12))]
    elif kind == 6:
        other = _place(rng, len(data))
        data[at:at] = data[other : other + (1 << rng.randrange(12))]
    elif kind == 7:
        other, length = _place(rng, len(data)), 1 << rng.randrange(10)
        data[at : at + length] = data[other : other + length]
    elif kind == 8:
        data[at:at] = rng.choice(_WORDS)
    elif kind == 9:
        word = rng.choice(_WORDS)
        data[at : at + len(word)] = word
    else:
        _digits(rng, data, at)


def _digits(rng: random.Random, data: bytearray, at: int) -> None:
    """Put another number in place of the ASCII one at or behind `at`, of the same length where it can."""
    start = next((i for i in range(at, min(at + 4096, len(data))) if 48 <= data[i] < 58), None)
    if start is None:
        return
    end = start
    while end < len(data) and 48 <= data[end] < 58:
        end += 1
    width = end - start
    number = rng.choice(
        (b"7" * width, b"0" * width, b"-" + b"1" * (width - 1), b"9" * 30, b"", b"1.5", b"\x80")
    )
    data[start:end] = number


def damaged(rng: random.Random, data: bytes) -> bytes:
    """`data` with one to four things wrong."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        _damage(rng, changed)
    return bytes(changed)


def case(target: Target, good: bytes, seed: int, number: int) -> bytes:
    """The bytes of one case."""
    rng = random.Random(f"{seed}/{target.name}/{number}")
    finish = target.finish if rng.random() < 0.5 else as_it_is
    if finish is as_it_is:
        return damaged(rng, good if target.finish is as_it_is else target.finish(good))
    return finish(damaged(rng, good))


# -- the child: runs cases and says which ----------------------------------------------------------------


def targets(area: str | None = None) -> list[Target]:
    """The targets of an area, or of all."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    names = [area] if area else areas()
    return [target for name in names for target in importlib.import_module(f"fuzz_{name}").TARGETS]


def areas() -> list[str]:
    """The areas that have a file `fuzz_<area>.py`."""
    return sorted(
        path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py") if path.stem != "fuzz_self"
    )


def _child(area: str, names: str, seed: int, first: int, count: int) -> None:
    """Run `count` cases of each of the named targets, from case `first` on."""
    logging.disable(logging.WARNING)
    known = {target.name: target for target in targets(area)}
    for name in names.split(","):
        _cases(known[name], seed, range(first, first + count))


def _cases(target: Target, seed: int, numbers: range) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # The limit of the target before does not hold for what this one's libraries take when they begin.
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        path = target.write(Path(folder))
        good = path.read_bytes()
        _tell(target=target.name, case=numbers.start)
        target.read(path)
        gc.collect()
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
        for number in numbers:
            _tell(target=target.name, case=number)
            path.write_bytes(case(target, good, seed, number))
            try:
                target.read(path)
            except Exception:
                _tell(target=target.name, case=number, fault=traceback.format_exc()[-3000:])


def _tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


# -- the parent ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """A case in which the reader broke the rule."""

    target: str
    number: int
    what: str


def run(area: str, names: Sequence[str], *, seed: int, first: int, count: int) -> Iterator[Fault]:
    """Run `count` cases of each of the targets of one area; yields the faults."""
    left, begin, cases = list(names), first, count
    while left:
        arguments = (area, ",".join(left), str(seed), str(begin), str(cases))
        command = [sys.executable, "-W", "ignore", __file__, *arguments]
        # A file, not a pipe: a codec's words on damage would fill it, and the child would wait for ever.
        with (
            tempfile.TemporaryFile() as said,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as child,
        ):
            at, faults, ended = _watch(child, said, (left[0], begin))
        yield from faults
        if ended is None:
            return
        yield Fault(*at, ended)
        # The case that ended it is left out: the rest of its target, then the other targets whole.
        left = left[left.index(at[0]) :]
        begin, cases = at[1] + 1, first + count - at[1] - 1
        if cases > 0:
            yield from run(area, left[:1], seed=seed, first=begin, count=cases)
        left, begin, cases = left[1:], first, count


def _watch(
    child: subprocess.Popen[bytes], said: IO[bytes], at: tuple[str, int]
) -> tuple[tuple[str, int], list[Fault], str | None]:
    """(last case begun, faults told, how it ended if badly)."""
    assert child.stdout is not None
    faults, rest = list[Fault](), b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        until = time.monotonic() + 120  # imports, on a busy machine
        while True:
            if not selector.select(max(until - time.monotonic(), 0)):
                child.kill()
                return at, faults, f"did not end within {SECONDS:.0f} s"
            chunk = os.read(child.stdout.fileno(), 1 << 16)
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                told = json.loads(line)
                at = (told["target"], told["case"])
                until = time.monotonic() + SECONDS
                if "fault" in told:
                    faults.append(Fault(*at, told["fault"]))
    code = child.wait()
    said.seek(0)
    words = said.read()[-2000:].decode("utf-8", "replace")
    return at, faults, None if code == 0 else f"the process ended with {code}: {words}"


def replay(name: str, seed: int, number: int, folder: Path) -> Path:
    """Write one case's files into `folder`; returns the damaged one."""
    target = next(t for t in targets() if t.name == name)
    path = target.write(folder)
    path.write_bytes(case(target, path.read_bytes(), seed, number))
    return path


if __name__ == "__main__":
    _area, _names, *_numbers = sys.argv[1:]
    _child(_area, _names, *map(int, _numbers))
