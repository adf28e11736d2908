"""Frames of videos: each is the one asked for, in any order and process; damage never numbers them anew."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from recorded import number_of, numbered, write_video

from facecorpus.sources.archives import InputError, Member, VideoContainer
from facecorpus.sources.archives.packets import Packets, avi_chunks

FRAMES = 60
KINDS = ["v.avi:MJPG", "v.avi:XVID", "v.mp4:mp4v"]


def video(folder: Path, kind: str, frames: int = FRAMES) -> Path:
    name, _, code = kind.partition(":")
    return write_video(folder / name, (numbered(n) for n in range(1, frames + 1)), code)


def shown(container: VideoContainer, number: int) -> int:
    return number_of(container.read(Member(f"v/{number:05d}", -1, 0)))


def shown_each(path: str, wanted: list[int]) -> list[int]:
    """Of one process."""
    with VideoContainer(path) as container:
        return [shown(container, number) for number in wanted]


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_itself_in_any_order(kind: str, tmp_path: Path) -> None:
    path = video(tmp_path, kind)
    with VideoContainer(str(path)) as container:
        members = list(container.members())
        assert [m.path for m in members] == [f"{path.name}/{n:05d}" for n in range(1, FRAMES + 1)]
        assert [number_of(container.read(m)) for m in members] == list(range(1, FRAMES + 1))
        wanted = random.Random(0).sample(range(1, FRAMES + 1), 12)
        assert [shown(container, number) for number in wanted] == wanted
        assert [shown(container, number) for number in (7, 7, 8)] == [7, 7, 8]


def test_every_frame_is_itself_in_several_processes(tmp_path: Path) -> None:
    path = str(video(tmp_path, "v.mp4:mp4v"))
    lists = [list(range(start, FRAMES + 1, 7)) for start in (40, 3, 21)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(shown_each, [path] * 3, lists)) == lists


@pytest.mark.parametrize("kind", KINDS)
def test_behind_the_end_there_is_no_frame(kind: str, tmp_path: Path) -> None:
    with VideoContainer(str(video(tmp_path, kind, 9))) as container:
        for number in (10, 11, 500):
            with pytest.raises(InputError, match=f"no frame {number}: the video has 9 frames") as told:
                shown(container, number)
            assert told.value.reason.name == "missing_frame"
        assert shown(container, 9) == 9


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    if how == "cut short":
        del data[middle:]
    elif how == "a lost header":
        start = data.index(b"00dc", middle)
        data[start : start + 8] = b"\xff" * 8
    elif how == "zeros":
        data[middle : middle + 3000] = bytes(3000)
    else:
        noise = np.random.default_rng(0).integers(0, 256, 3000, dtype=np.uint8)
        data[middle : middle + 3000] = noise.tobytes()
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["cut short", "zeros", "noise", "a lost header"])
def test_damage_ends_an_avi_and_numbers_no_frame_anew(how: str, tmp_path: Path) -> None:
    path = video(tmp_path, "v.avi:MJPG")
    damage(path, how)
    with VideoContainer(str(path)) as container:
        good = 0
        with pytest.raises(InputError, match=f"the video breaks off after frame \\d+ of {FRAMES}"):
            while shown(container, good + 1) == good + 1:
                good += 1
        assert FRAMES // 3 < good < FRAMES
        with pytest.raises(InputError, match="breaks off"):
            shown(container, FRAMES)
        assert shown(container, good) == good


def test_damage_within_an_mp4_numbers_no_frame_anew(tmp_path: Path) -> None:
    path = video(tmp_path, "v.mp4:mp4v")
    damage(path, "noise")
    with VideoContainer(str(path)) as container:
        assert [shown(container, number) for number in range(1, 11)] == list(range(1, 11))
        with pytest.raises(InputError, match="no frame 60: the video breaks off"):
            shown(container, FRAMES)


@pytest.mark.parametrize("data", [b"", bytes(range(256)) * 40, b"RIFF\0\0\0\0AVI "])
def test_what_is_no_video(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    path.write_bytes(data)
    for _ in range(2):
        with VideoContainer(str(path)) as container, pytest.raises(InputError, match="copy it again") as told:
            shown(container, 1)
        assert told.value.reason.name == "corrupt"


def test_an_mp4_whose_table_was_lost_is_no_video(tmp_path: Path) -> None:
    path = video(tmp_path, "v.mp4:mp4v")
    damage(path, "cut short")
    with VideoContainer(str(path)) as container, pytest.raises(InputError, match="cannot be opened"):
        list(container.members())


def test_a_whole_file_is_read_to_its_end(tmp_path: Path) -> None:
    """The guard against damage must not see any where there is none, with or without padding."""
    path = video(tmp_path, "v.avi:MJPG", 12)
    sizes, whole = avi_chunks(str(path)) or ([], False)
    assert whole and len(sizes) == 12
    data = path.read_bytes()
    start, chunk = chunk_of(data, 1)
    size = len(chunk) - 8
    odd = chunk[:4] + (size + 1 - size % 2).to_bytes(4, "little") + chunk[8:] + b"\0" * (1 - size % 2)
    unpadded = tmp_path / "unpadded.avi"
    unpadded.write_bytes(data[:start] + odd * 3)
    assert avi_chunks(str(unpadded)) == ([size + 1 - size % 2] * 3, True)
    unpadded.write_bytes(data[:start] + odd * 3 + b"!!!!!!!!!!!!")
    assert avi_chunks(str(unpadded)) == ([size + 1 - size % 2] * 3, False)
    assert avi_chunks(str(video(tmp_path, "v.mp4:mp4v", 2))) is None


def chunk_of(data: bytes, number: int) -> tuple[int, bytes]:
    """Where the chunk of a frame begins in an AVI file, and the chunk without its padding."""
    start = data.index(b"movi") + 4
    for _ in range(number):
        start = data.index(b"00dc", start)
        end = start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")
        before, start = start, end
    return before, data[before:end]


def drop(path: Path, numbers: Sequence[int], index: bool = True) -> None:
    """Put an empty chunk in the place of frames, as recorders do that cannot keep up."""
    data = path.read_bytes()
    end = data.rindex(b"idx1")
    entries = bytearray(data[end:])
    for number in sorted(numbers, reverse=True):
        start, chunk = chunk_of(data[:end], number)
        padded = len(chunk) + len(chunk) % 2
        # what follows stays where it is, behind a chunk that means nothing
        filler = b"JUNK" + (padded - 16).to_bytes(4, "little") + bytes(padded - 16)
        data = data[:start] + b"00dc\0\0\0\0" + filler + data[start + padded :]
        entries[8 + 16 * number - 4 : 8 + 16 * number] = bytes(4)
    path.write_bytes(data[:end] + (bytes(entries) if index else b""))


@pytest.mark.parametrize("index", [True, False], ids=["indexed", "without an index"])
@pytest.mark.parametrize("dropped", [[5], [2, 3, 9], [8, 12]])
def test_frames_behind_a_dropped_one_keep_their_numbers(
    dropped: list[int], index: bool, tmp_path: Path
) -> None:
    path = video(tmp_path, "v.avi:MJPG", 12)
    drop(path, dropped, index)
    with VideoContainer(str(path)) as container:
        assert (container.packets.frames, len(container.packets.numbers)) == (12, 12 - len(dropped))
        assert len(list(container.members())) == 12
        for number in (*range(1, 13), *reversed(range(1, 13))):
            if number not in dropped:
                assert shown(container, number) == number
                continue
            words = "dropped when" if number < 12 else "breaks off after frame 11 of 12"
            with pytest.raises(InputError, match=f"no frame {number}: .*{words}") as told:
                shown(container, number)
            assert told.value.reason.name == "missing_frame"


def test_decoded_frames_are_told_by_their_times() -> None:
    """The container has six frames, and the fourth gives no picture."""
    times = [0.0, 40.0, 80.0, 120.0, 160.0, 200.0]
    lost = [*times[:3], *times[4:]]
    in_order = Packets(range(1, 7), times, 6, 6, shown=True)
    assert in_order.survey(lost) == ([1, 2, 3, 5, 6], True)
    assert in_order.survey(times[2:]) == ([3, 4, 5, 6], True)
    avi = Packets(range(1, 7), times, 6, 6, shown=False)
    assert avi.survey(lost) == ([1, 2, 3, 5, 6], True)
    assert avi.survey([40.0, *times[2:], 0.0]) == (range(1, 7), True), "decoded late, but all of them"
    assert avi.survey([40.0, *times[2:]]) == (range(0), False), "late, or without the first?"
    assert avi.survey([0.0, 40.0, 120.0, 160.0, 0.0]) == (range(1, 3), False), "late from the third on"
    timeless = Packets(range(1, 7), (), 6, 6, shown=True)
    assert timeless.survey([0.0] * 6) == (range(1, 7), True)
    assert timeless.survey([0.0] * 5) == (range(0), False)
    broken = Packets([1, 2, 4], times[:3], 6, 5, shown=False)
    assert broken.survey([0.0, 80.0, 160.0]) == ([1, 4], True), "what is behind the damage does not count"


def test_a_container_that_does_not_state_its_frames(tmp_path: Path) -> None:
    path = video(tmp_path, "v.mkv:mp4v", 9)
    data = path.read_bytes()
    at = data.index(b"\x44\x89\x88")  # the duration, from which the count would be estimated
    path.write_bytes(data[:at] + b"\xec\x89" + bytes(9) + data[at + 11 :])
    with VideoContainer(str(path)) as container:
        assert container.packets.frames == 9
        assert [shown(container, number) for number in range(1, 10)] == list(range(1, 10))


def test_a_header_that_promises_more_frames(tmp_path: Path) -> None:
    path = video(tmp_path, "v.avi:MJPG", 9)
    data = bytearray(path.read_bytes())
    for name, place in ((b"avih", 24), (b"strh", 40)):
        at = data.index(name) + place
        assert int.from_bytes(data[at : at + 4], "little") == 9
        data[at : at + 4] = (12).to_bytes(4, "little")
    path.write_bytes(data)
    with VideoContainer(str(path)) as container:
        assert (container.packets.frames, list(container.packets.numbers)) == (12, list(range(1, 10)))
        with pytest.raises(InputError, match="no frame 10: the video breaks off after frame 9 of 12"):
            shown(container, 10)


def test_a_remote_video_is_read_through_a_copy(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.pipe_file("/films/v.avi", video(tmp_path, "v.avi:MJPG", 9).read_bytes())
    with VideoContainer("memory://films/v.avi") as container:
        assert [shown(container, number) for number in (9, 2)] == [9, 2]
    store.rm("/films", recursive=True)
