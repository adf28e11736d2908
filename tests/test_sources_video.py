"""Frames of videos: each is the one asked for, in any order and process; damage never numbers them anew."""

from __future__ import annotations

import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from recorded import number_of, numbered, write_video

from facecorpus.record import Reason
from facecorpus.sources.archives import InputError, Member, VideoContainer
from facecorpus.sources.archives.video import whole_frames

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
            assert told.value.reason == Reason.MISSING_FRAME
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
        assert told.value.reason == Reason.CORRUPT


def test_an_mp4_whose_table_was_lost_is_no_video(tmp_path: Path) -> None:
    path = video(tmp_path, "v.mp4:mp4v")
    damage(path, "cut short")
    with VideoContainer(str(path)) as container, pytest.raises(InputError, match="cannot be opened"):
        list(container.members())


def test_a_whole_file_is_read_to_its_end(tmp_path: Path) -> None:
    """The guard against damage must not see any where there is none: no limit, with or without padding."""
    path = video(tmp_path, "v.avi:MJPG", 12)
    assert whole_frames(str(path)) > 1 << 60
    data = path.read_bytes()
    start = data.index(b"00dc", data.index(b"movi"))
    size = int.from_bytes(data[start + 4 : start + 8], "little")
    chunk = data[start : start + 8 + size]
    odd = chunk[:4] + (size + 1 - size % 2).to_bytes(4, "little") + chunk[8:] + b"\0" * (1 - size % 2)
    unpadded = tmp_path / "unpadded.avi"
    unpadded.write_bytes(data[:start] + odd * 3)
    assert whole_frames(str(unpadded)) > 1 << 60
    unpadded.write_bytes(data[:start] + odd * 3 + b"!!!!!!!!!!!!")
    assert whole_frames(str(unpadded)) == 3


def test_a_remote_video_is_read_through_a_copy(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.pipe_file("/films/v.avi", video(tmp_path, "v.avi:MJPG", 9).read_bytes())
    with VideoContainer("memory://films/v.avi") as container:
        assert [shown(container, number) for number in (9, 2)] == [9, 2]
    store.rm("/films", recursive=True)
