"""LFW: faces from the news, 250 x 250; a folder for each person, or an archive of those folders."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from facecorpus.record import Record
from facecorpus.sources.archives import Container
from facecorpus.sources.base import Drawn, Layout, Member, Part, Source, adapter
from facecorpus.sources.layouts import whole

_PICTURE = re.compile(r"(.+)_\d{4}\.jpg")


@adapter("lfw")
class LFW(Source):
    """`lfw.tgz`, or the folder in it; the funneled ones are called alike."""

    def parts(self) -> Sequence[Part]:
        """An archive that lies alone, else the folder."""
        return whole(self)

    def members(self, container: Container) -> Iterator[Member]:
        """All but lists of names and pairs."""
        return (member for member in container.members() if not member.path.endswith((".txt", ".csv")))

    def annotate(self, record: Record, member: Member) -> None:
        """By the file's name: some copies have lost their folders."""
        if name := _PICTURE.fullmatch(PurePosixPath(member.path).name):
            record.identity = name[1]

    def why_nobody(self) -> str | None:
        """The names."""
        return "no picture is called as Aaron_Eckhart_0001.jpg is"

    @staticmethod
    def lay_out(drawn: Sequence[Drawn]) -> Layout:
        """The archive, and the pairs beside the pictures in it."""
        people = [f"Drawn_Person_{d.person}" for d in drawn]
        names = [f"lfw/{who}/{who}_{d.number:04d}.jpg" for who, d in zip(people, drawn, strict=True)]
        files = dict(zip(names, (d.data for d in drawn), strict=True)) | {"lfw/pairs.txt": b"10\t300\n"}
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        archived = gzip.compress(packed.getvalue(), mtime=0)
        return Layout(list(zip(names, people, strict=True)), {"lfw.tgz": archived})
