"""Feed damaged bytes to every reader of both packages for as long as you like.

    python tools/fuzz_readers.py --minutes 60                 # all readers in turn
    python tools/fuzz_readers.py --minutes 5 --reader tar     # those whose name begins so
    python tools/fuzz_readers.py --reader tar --case 1234     # one case again, its files kept

Exit code 1 where a reader broke its rule (see `tests/fuzzing.py`): the case is printed, and can be had again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import fuzzing

STEP = 400
"""Cases before the next reader has its turn."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--reader", action="append", help="may be given several times")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="write this case of --reader and read it here")
    options = parser.parse_args()
    every = {area: [target.name for target in fuzzing.targets(area)] for area in fuzzing.areas()}
    begins = tuple(options.reader or [""])
    chosen = {area: [n for n in names if n.startswith(begins)] for area, names in every.items()}
    names = [name for names in chosen.values() for name in names]
    if not names:
        parser.error(f"no reader begins with {options.reader}; there are {every}")
    if options.case is not None:
        return _again(names[0], options.seed, options.case)
    end = time.monotonic() + 60 * options.minutes
    first, cases, faults = 0, 0, 0
    while time.monotonic() < end:
        for area, readers in chosen.items():
            for fault in fuzzing.run(area, readers, seed=options.seed, first=first, count=STEP):
                faults += 1
                print(
                    f"\n{fault.target} case {fault.number} (--seed {options.seed}):\n{fault.what}", flush=True
                )
            cases += STEP * len(readers)
        first += STEP
        print(f"{cases:,} cases of {len(names)} readers, {faults} faults", flush=True)
    return 1 if faults else 0


def _again(name: str, seed: int, number: int) -> int:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    path = fuzzing.replay(name, seed, number, folder)
    print(f"{path} ({path.stat().st_size:,} bytes)")
    target = next(t for t in fuzzing.targets() if t.name == name)
    print("read:", target.read(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
