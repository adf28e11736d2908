"""What a module of one's own brings through FACE_PLUGINS: one of each kind, written here alone, runs end to
end through the commands."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from facecorpus import plugins
from facecorpus.errors import UserError
from tests.conftest import run

SOURCE = '''
    from facecorpus.sources.base import Part, Source, adapter

    @adapter(
        "toy_album",
        title="Toy album",
        layout="pages",
        terms="Anybody may look at it.",
        availability="In this test.",
    )
    class ToyAlbum(Source):
        """A folder `pages` with a folder for each person."""

        def parts(self):
            return [Part("pages", "")]

        def annotate(self, record, member):
            record.identity = member.path.split("/")[0]
'''


def plug(folder: Path, name: str, text: str) -> dict[str, str]:
    """The environment in which the commands read the module `text`, written to `folder`."""
    file = folder / f"{name}.py"
    file.write_text(textwrap.dedent(text), "utf-8")
    return {**os.environ, plugins.VARIABLE: str(file)}


def test_a_source(tmp_path: Path, drawn: Path) -> None:
    """Its module and its facts: listed, described, built from by two worker processes."""
    people = sorted(path for path in (drawn / "casia_webface").iterdir() if path.is_dir())[:4]
    for person in people:
        (tmp_path / "raw/toy_album/pages" / person.name).mkdir(parents=True)
        for picture in person.iterdir():
            (tmp_path / "raw/toy_album/pages" / person.name / picture.name).write_bytes(picture.read_bytes())
    environment = plug(tmp_path, "album", SOURCE)
    assert "* toy_album" in run("sources", env=environment).stdout
    assert "Anybody may look at it." in run("sources", "toy_album", env=environment).stdout
    out = tmp_path / "out"
    arguments = ("--sources", "toy_album", "--root", str(tmp_path / "raw"), "--out", str(out))
    more = ("--recipe", "sample", "--workers", "2", "--set", "inputs_per_unit=4")
    run("build", *arguments, *more, env=environment)
    people_listed = pq.read_table(out / "inventory/toy_album.parquet").column("identity").to_pylist()
    assert set(people_listed) == {person.name for person in people}
    assert json.loads((out / "corpus.json").read_text("utf-8"))["sources"][0]["adapter"] == "toy_album"
    without = run("build", *arguments, *more, check=False)
    assert without.returncode == 2
    assert "no adapter 'toy_album'" in without.stderr
    assert "FACE_PLUGINS may bring more" in without.stderr


def test_a_registry() -> None:
    animals: plugins.Registry[str] = plugins.Registry("--animal {!r}: there is no such animal")
    with pytest.raises(UserError, match="'cat': there is no such animal; known: none"):
        animals.get("cat")
    assert animals.register("horse")("neigh") == "neigh"
    animals.register("cow")("moo")
    assert (animals.get("cow"), list(animals), "cow" in animals) == ("moo", ["horse", "cow"], True)
    with pytest.raises(UserError, match=r"'hose': there is no such animal; did you mean 'horse'\?$"):
        animals.get("hose")
    with pytest.raises(UserError, match=r"known: cow, horse .a module"):
        animals.get("zzz")
    with pytest.raises(UserError, match="'cow' is registered twice; give"):
        animals.register("cow")("moo")


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (
            "no_such_module",
            "names no_such_module, which cannot be imported .ModuleNotFoundError",
        ),
        ("absent.py", "FACE_PLUGINS names absent.py, which cannot be imported .FileNotFoundError"),
        ("broken.py", "names broken.py, which cannot be imported .SyntaxError"),
        ("again.py", "again.py, which cannot be imported .UserError: 'celeba' is registered twice"),
    ],
)
def test_what_cannot_be_imported(
    named: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence; the second try says the same."""
    import facecorpus.sources.celeba  # noqa: F401 - is there first

    (tmp_path / "broken.py").write_text("def", "utf-8")
    (tmp_path / "again.py").write_text(textwrap.dedent(SOURCE.replace("toy_album", "celeba")), "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(plugins.VARIABLE, f" , {named}")
    for _ in range(2):
        with pytest.raises(UserError, match=words):
            plugins.load()


def test_each_is_imported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By path and by dotted name; two files of one name are two modules."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "noting.py").write_text(
            f"from pathlib import Path\nwith Path({str(tmp_path / 'log')!r}).open('a') as log:\n"
            f"    log.write({folder!r})\n",
            "utf-8",
        )
    monkeypatch.syspath_prepend(str(tmp_path / "b"))
    monkeypatch.setenv(plugins.VARIABLE, f"{tmp_path}/a/noting.py,{tmp_path}/b/noting.py,noting")
    plugins.load()
    plugins.load()
    assert (tmp_path / "log").read_text("utf-8") == "abb"
