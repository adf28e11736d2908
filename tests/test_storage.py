"""Promises of `facecorpus.storage`: nothing half-written, nothing skipped, the same bytes every time."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facecorpus import storage
from facecorpus.errors import UserError
from facecorpus.phases.files import publish_parquet


@pytest.fixture(params=["local", "file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/store"
    return str(tmp_path) if request.param == "local" else f"file://{tmp_path}"


def _put(url: str, data: bytes) -> None:
    def write(stream: BinaryIO) -> None:
        stream.write(data)

    storage.publish(url, write)


def _get(url: str) -> bytes:
    with storage.open_read(url) as stream:
        return stream.read()


def test_round_trip(place: str) -> None:
    url = storage.join(place, "a/b.bin")
    assert not storage.exists(url)
    _put(url, b"first")
    _put(url, b"second")
    assert storage.exists(url)
    assert _get(url) == b"second"
    assert storage.size(url) == 6
    assert storage.is_dir(storage.join(place, "a"))
    assert not storage.is_dir(url)
    assert storage.list_dir(place) == ["a/"]
    assert storage.list_dir(storage.join(place, "a")) == ["b.bin"]
    storage.remove(url)
    assert not storage.exists(url)


def test_reads_are_seekable(place: str) -> None:
    url = storage.join(place, "x")
    _put(url, b"0123456789")
    with storage.open_read(url) as stream:
        stream.seek(7)
        assert stream.read(2) == b"78"


@pytest.mark.parametrize(
    ("url", "parts", "joined"),
    [
        ("/a", ("b", "c/d"), "/a/b/c/d"),
        ("/a/", ("b",), "/a/b"),
        ("", ("b",), "b"),
        ("/", ("b",), "/b"),
        ("memory://", ("b",), "memory://b"),
        ("s3://bucket", ("", "b", ""), "s3://bucket/b"),
    ],
)
def test_join(url: str, parts: tuple[str, ...], joined: str) -> None:
    assert storage.join(url, *parts) == joined


def test_large_objects_reach_a_store_whole() -> None:
    url = f"memory://{uuid.uuid4().hex}/large"
    data = os.urandom(1 << 20) * 40
    _put(url, data)
    assert _get(url) == data


def test_stamp_tells_a_change(place: str) -> None:
    url = storage.join(place, "x")
    _put(url, b"one")
    before = storage.stamp(url)
    assert storage.stamp(url) == before
    _put(url, b"two")  # of the same size
    assert storage.stamp(url) != before
    assert [stamp for _, _, stamp in storage.walk_files(place)] == [storage.stamp(url)]


# -- walking


def test_walk_is_sorted_by_path_and_whole(place: str) -> None:
    # "a-b/x" sorts before "a/x" because "-" is before "/", although the folder "a" sorts before "a-b"
    paths = ["a/x", "a-b/x", "a.txt", ".hidden/y", "__MACOSX/z", "b/c/d/e", "ü/ß"]
    for path in paths:
        _put(storage.join(place, path), path.encode())
    walked = list(storage.walk_files(place))
    assert [path for path, _, _ in walked] == sorted(paths)
    assert [size for _, size, _ in walked] == [len(path.encode()) for path in sorted(paths)]


def test_walk_names_a_missing_folder(place: str) -> None:
    with pytest.raises(UserError, match=r"there is no folder .*nowhere"):
        list(storage.walk_files(storage.join(place, "nowhere")))


def test_walk_follows_links_but_no_loop(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x").write_bytes(b"12")
    (tmp_path / "real/up").symlink_to(tmp_path)
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    (tmp_path / "file").symlink_to(tmp_path / "real/x")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    os.mkfifo(tmp_path / "pipe")
    walked = {path: size for path, size, _ in storage.walk_files(str(tmp_path))}
    assert walked == {"real/x": 2, "alias/x": 2, "file": 2, "dangling": 0, "self": 0}


def test_walk_keeps_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xe9.jpg")).write_bytes(b"x")
    assert [os.fsencode(path) for path, _, _ in storage.walk_files(str(tmp_path))] == [b"\xe9.jpg"]


def _as_nobody(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run Python code as an ordinary user, whom permissions bind."""
    if os.getuid() != 0:
        return _python(code, *args)
    return _python("import os; os.setgid(65534); os.setuid(65534)\n" + textwrap.dedent(code), *args)


def _python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import pyarrow.parquet\nfrom facecorpus import storage\n" + code, *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def open_tmp(tmp_path: Path) -> Path:
    """A folder that another user can reach."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    tmp_path.chmod(0o777)
    return tmp_path


def test_walk_names_a_folder_that_may_not_be_read(open_tmp: Path) -> None:
    closed = open_tmp / "closed"
    closed.mkdir(mode=0o700)
    (open_tmp / "x").write_bytes(b"x")
    closed.chmod(0)
    done = _as_nobody("import sys; print(list(storage.walk_files(sys.argv[1])))", str(open_tmp))
    closed.chmod(0o700)
    assert f"UserError: the folder {closed} cannot be read: Permission denied" in done.stderr


# -- publishing


class StopError(Exception):
    pass


def test_failure_leaves_nothing(place: str) -> None:
    url = storage.join(place, "f/x")
    _put(url, b"before")

    def write(stream: BinaryIO) -> None:
        stream.write(b"half" * (1 << 20))
        raise StopError

    with pytest.raises(StopError):
        storage.publish(url, write)
    assert _get(url) == b"before"
    assert [path for path, _, _ in storage.walk_files(place)] == ["f/x"]


def test_errors_of_the_writer_itself_pass_unchanged(tmp_path: Path) -> None:
    def write(stream: BinaryIO) -> None:
        stream.write(Path("/no/such/input").read_bytes())

    with pytest.raises(FileNotFoundError, match="/no/such/input"):
        storage.publish(str(tmp_path / "x"), write)
    assert list(tmp_path.iterdir()) == []


def test_aside_is_hidden_while_it_is_written(tmp_path: Path) -> None:
    seen: list[str] = []

    def write(stream: BinaryIO) -> None:
        stream.write(b"x")
        seen.extend(path.name for path in tmp_path.iterdir())

    storage.publish(str(tmp_path / "part-00000.parquet"), write)
    assert len(seen) == 1
    assert seen[0].startswith(".part-00000.parquet.part-")
    assert seen[0].endswith(str(os.getpid()))
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000.parquet"]


def test_asides_of_the_dead_are_cleaned(tmp_path: Path) -> None:
    """A writer is killed half-way; its aside file goes, that of a living writer stays."""
    code = """
        import os, sys
        def write(stream):
            stream.write(b"x" * 100)
            if sys.argv[2] == "die":
                os.kill(os.getpid(), 9)
            print("ready", flush=True)
            sys.stdin.read()
        storage.publish(sys.argv[1], write)
    """
    assert _python(textwrap.dedent(code), str(tmp_path / "a/dead"), "die").returncode == -9
    command = [sys.executable, "-c", "from facecorpus import storage\n" + textwrap.dedent(code)]
    with subprocess.Popen(
        [*command, str(tmp_path / "a/living"), "live"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as living:
        assert living.stdin is not None
        assert living.stdout is not None
        assert living.stdout.readline() == b"ready\n"
        other = tmp_path / "a/.other.part-00000000-1"
        other.write_bytes(b"of another machine, lately")
        old = tmp_path / "a/.old.part-00000000-1"
        old.write_bytes(b"of another machine, long ago")
        os.utime(old, (0, 0))
        mine = tmp_path / "a/.holiday.part-2"
        mine.write_bytes(b"no aside file at all")
        removed = storage.clean_asides(str(tmp_path), lambda _: True)
        assert [Path(path).name.split(".part-")[0] for path in removed] == [".dead", ".old"]
        assert other.exists()
        assert mine.exists()
        living.stdin.close()
    assert (tmp_path / "a/living").read_bytes() == b"x" * 100


def test_asides_of_the_dead_are_cleaned_before_anybody_buries_them(tmp_path: Path) -> None:
    """A killed process stays in /proc until its parent asks for its exit status."""
    script = textwrap.dedent(
        f"""
        import os, signal
        from facecorpus import storage

        def write(stream):
            os.kill(os.getpid(), signal.SIGKILL)

        storage.publish({str(tmp_path / "cut")!r}, write)
        """
    )
    dead = subprocess.Popen([sys.executable, "-c", script])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet waited for
    try:
        assert Path(f"/proc/{dead.pid}").exists()
        (removed,) = storage.clean_asides(str(tmp_path), lambda _: True)
        assert str(dead.pid) in removed
    finally:
        dead.wait()


def test_clean_asides_of_nothing() -> None:
    assert storage.clean_asides("memory://none", lambda _: True) == []
    assert storage.clean_asides("/no/such/folder", lambda _: True) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, where root may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a full disk needs the right to mount one")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_full_disk(tiny_disk: Path) -> None:
    with pytest.raises(
        UserError, match=f"no space left in {tiny_disk}/deep: at least [1-9][0-9]+ bytes more"
    ):
        _put(str(tiny_disk / "deep/x"), os.urandom(3 << 20))
    assert [path for path, _, _ in storage.walk_files(str(tiny_disk))] == []
    with pytest.raises(UserError, match="run the same command again: finished parts are kept"):
        publish_parquet(str(tiny_disk), "t", pa.table({"x": [os.urandom(3 << 20)]}))
    assert [path for path, _, _ in storage.walk_files(str(tiny_disk))] == []
    _put(str(tiny_disk / "small"), b"there is room again")


def test_file_size_limit(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
storage.publish(sys.argv[1], lambda stream: stream.write(bytes(3 << 20)))
"""
    done = _python(code, str(tmp_path / "x"))
    assert f"UserError: a file in {tmp_path} would be larger than this process may write" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_place_that_may_not_be_written(open_tmp: Path) -> None:
    closed = open_tmp / "closed"
    closed.mkdir(mode=0o755)
    if os.getuid() != 0:
        pytest.skip("a folder of another user needs another user")
    code = "import sys; storage.publish_json(sys.argv[1], 1)"
    done = _as_nobody(code, str(closed / "x.json"))
    assert f"UserError: {closed} may not be written (Permission denied)" in done.stderr
    done = _as_nobody(code, str(closed / "deep/x.json"))
    assert "may not be written (Permission denied)" in done.stderr


def test_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(UserError, match=r"writing in .* failed"):
        _put(str(tmp_path / "file/x"), b"x")


# -- JSON and Parquet


def test_json(place: str) -> None:
    url = storage.join(place, "x.json")
    storage.publish_json(url, {"b": 1, "a": ["ü", None]})
    first = _get(url)
    storage.publish_json(url, {"a": ["ü", None], "b": 1})
    assert _get(url) == first
    assert first.endswith(b"}\n")
    assert storage.read_json(url) == {"a": ["ü", None], "b": 1}
    _put(url, b'{"a": ')
    with pytest.raises(ValueError, match="Expecting value"):
        storage.read_json(url)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.none() | st.text(max_size=3)), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=5),
)
def test_table_bytes_do_not_depend_on_chunks(rows: list[tuple[int, str | None]], cuts: list[int]) -> None:
    schema = pa.schema([("n", pa.int64()), ("text", pa.string())])
    whole = pa.Table.from_pylist([{"n": n, "text": text} for n, text in rows], schema=schema)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    pieces = [whole.slice(a, b - a) for a, b in itertools.pairwise(edges)]
    base = f"memory://{uuid.uuid4().hex}"
    publish_parquet(base, "whole", whole)
    publish_parquet(base, "cut", pa.concat_tables(pieces))
    assert _get(storage.join(base, "cut")) == _get(storage.join(base, "whole"))
    assert storage.read_table(storage.join(base, "cut")).equals(whole)
    assert storage.read_table(storage.join(base, "cut"), ["n"]).column_names == ["n"]


def test_bytes_of_a_table_of_many_pages_do_not_depend_on_chunks() -> None:
    rng = random.Random(0)
    whole = pa.table({"id": [rng.randbytes(9).hex() for _ in range(150_000)]})
    base = f"memory://{uuid.uuid4().hex}"
    publish_parquet(base, "whole", whole)
    publish_parquet(base, "cut", pa.concat_tables([whole.slice(n, 777) for n in range(0, 150_000, 777)]))
    assert _get(storage.join(base, "cut")) == _get(storage.join(base, "whole"))


def test_damaged_table_is_named(tmp_path: Path) -> None:
    url = str(tmp_path / "x=1" / "t.parquet")  # the folder's name must not become a column
    publish_parquet(str(tmp_path), "x=1/t.parquet", pa.table({"a": [1]}))
    assert storage.read_table(url).column_names == ["a"]
    _put(url, _get(url)[:-5])
    with pytest.raises(UserError, match=r"t\.parquet is not a whole Parquet file"):
        storage.read_table(url)


def test_unknown_scheme_is_named() -> None:
    with pytest.raises(UserError, match="nonsense://x is neither a path nor an fsspec URL"):
        storage.exists("nonsense://x")
