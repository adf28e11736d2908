"""`fautrain finetune`, `evaluate`, `probe` and `recipes` at the command line: what they say when all is well,
and one clear sentence for bad input, before anything is trained or lost."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
from data_shards import write_corpus
from labelled_shards import SMALL, Row, one_cpu, write_labelled

from facecorpus import manifests
from facecorpus.errors import UserError
from fautrain import checkpoint
from fautrain.cli import app

__all__ = ["one_cpu"]  # a fixture, used by name

Commands = tuple[str, ...]


def settings(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


def finetune(*more: str) -> list[str]:
    """A run of one step of the first fold, in the default places."""
    line = ["finetune", "--dataset", "disfa", "--recipe", "tiny", "--fold", "1"]
    return [*line, *settings(*SMALL, "data.cache=.cache/fautrain", "train.max_steps=1"), *more]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with build/disfa, build/bp4d and two finished runs. Left as it is by the tests."""
    folder = tmp_path_factory.mktemp("place")
    write_labelled(folder / "build" / "disfa", "disfa", frames=2)
    write_labelled(folder / "build" / "bp4d", "bp4d", frames=2)
    small = settings("model.image_px=32", "model.decoder_width=32", "data.workers=0", "train.max_steps=1")
    line = ("pretrain", "--shards", "build/disfa", "--out", "pretrained", "--recipe", "tiny", *small)
    assert forked.run(folder, *line).code == 0
    done = forked.run(folder, *finetune())
    assert done.code == 0, done.err[-3000:]
    assert (
        "DISFA, 8 AUs, 3 folds; F1 in percent" in done.out
        and "report: build/finetune/disfa-tiny/report.html" in done.out
    )
    return folder


RUN = "build/finetune/disfa-tiny"
FOLD = f"{RUN}/seed-0/fold-1"
OTHER = ("--out", "build/other")


@pytest.fixture
def refused(place: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Gives the sentence with which a command in `place` refuses, before training; the run there stays whole.

    `main` would print it and exit with 2: `test_refusing_is_a_sentence_and_exit_code_2`.
    """
    before = checkpoint.latest(place / FOLD)
    assert before is not None

    def run(*arguments: str) -> str:
        with contextlib.chdir(place), pytest.raises(UserError) as caught:
            app(list(arguments), standalone_mode=False)
        assert "img/s" not in capfd.readouterr().err and checkpoint.latest(place / FOLD) == before
        sentence = str(caught.value)
        assert "\n" not in sentence and ("; " in sentence or ": " in sentence), sentence
        return sentence

    return run


def test_refusing_is_a_sentence_and_exit_code_2(place: Path) -> None:
    for arguments in (
        finetune("--fold", "4"),
        finetune("--set", "optim.lr=0.5"),
        ["evaluate", "build"],
        ["probe", "--checkpoint", "build"],
    ):
        done = forked.run(place, *arguments)
        assert done.code == 2 and not done.out and "Traceback" not in done.err, done.err
        assert len(done.err.splitlines()) == 1 and done.err.startswith("fautrain: ")
        assert "Traceback" in forked.run(place, *arguments, "--debug").err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--dataset", "disfo"), ("--dataset disfo", "did you mean 'disfa'?")),
        (("--dataset", "none.toml"), ("none.toml cannot be read",)),
        (("--recipe", "fmae-itt"), ("--recipe fmae-itt", "did you mean 'fmae-iat'?")),
        (
            ("--recipe", "fmae-vit-large"),
            (
                "fmae-vit-large is one of pretraining",
                "'fautrain pretrain --recipe fmae-vit-large'",
                "as --init",
                "fmae-iat",
            ),
        ),
        (("--recipe", "fmae-iat"), ("--init is not given", "pretrained weights", "--init none", "large")),
        (("--fold", "4"), ("--fold 4", "disfa has folds 1 to 3")),
        (("--fold", "0"), ("data.fold=0; give a number of at least 1",)),
        (("--fold", "x"), ("--fold x: give whole numbers",)),
        (("--fold", "2,2"), ("--fold 2,2", "twice")),
        (("--seeds", "a"), ("--seeds a: give whole numbers",)),
        (("--seeds", "-1"), ("seed=-1",)),
        (("--subset", "30%"), ("--subset 30%", "give 1/3")),
        (("--subset", "10"), ("--subset 10", "10%")),
        (("--set", "data.aus=12,3"), ("disfa has no AU3", "choose among 1, 2, 4")),
        (("--set", "data.ous=1"), ("data.ous", "'data.aus'")),
        (("--set", "seed=3"), ("--set seed", "--seeds")),
        (("--set", "data.fold=2"), ("--set data.fold", "--fold")),
        (("--set", "data.dataset=bp4d"), ("--set data.dataset", "--dataset")),
        (("--set", "identity.layers=4"), ("identity.layers=4; give 1, 2 or 3",)),
        (
            ("--set", "model.image_px=40", *OTHER),
            ("model.image_px=40 is no multiple of model.patch_px=16", "32"),
        ),
        (("--set", "data.validation=1"), ("data.validation=1.0; give 0 <= value < 1",)),
        (("--set", "log.trackers=wandb", *OTHER), ("wandb",)),
        (
            ("--shards", "build/bp4d"),
            ("the shards hold bp4d", "is of disfa", "facecorpus build --sources disfa"),
        ),
        (("--shards", "build/none"), ("build/none",)),
        (("--init", "none.pth", *OTHER), ("none.pth is not a file", "hub:OWNER/")),
        (("--init", "build", *OTHER), ("build", "holds no finished checkpoint")),
        (("--out", "build/disfa/shards.parquet"), ("build/disfa/shards.parquet", "--out")),
        (("--resume", "no"), (f"{FOLD} holds a run already", "another --out")),
        (("--resume", "atuo"), ("--resume atuo: give auto or no",)),
        (("--set", "optim.lr=0.5"), (FOLD, "optim.lr was 0.001 and is 0.5", "another --out")),
        (("--set", "model.size=small"), ("model.size was tiny and is small",)),
        # The first fold that would be trained is another one, but it is told before.
        (("--fold", "2,1", "--set", "optim.lr=0.5"), (FOLD, "optim.lr was 0.001 and is 0.5")),
        (("--fold", "all", "--resume", "no"), (f"{FOLD} holds a run already",)),
    ],
)
def test_finetune_refuses(refused: Callable[..., str], more: Commands, words: Commands) -> None:
    said = refused(*finetune(*more))
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evaluate", "build"), ("build holds no predictions of folds", "--out of 'fautrain finetune'")),
        (("evaluate", "nowhere"), ("nowhere holds no predictions",)),
        (("evaluate", "build", "--dataset", "bp4d"), ("build holds no checkpoint", "train first")),
        (("evaluate", RUN, "--dataset", "bp4d"), ("holds runs of folds", "fold-1")),
        (("evaluate", FOLD, "--dataset", "bp4"), ("there is no such benchmark", "bp4d")),
        (
            ("evaluate", FOLD, "--dataset", "bp4d_plus"),
            ("build/bp4d_plus", "facecorpus synth", "does not exist"),
        ),
        (("evaluate", FOLD, "--dataset", "bp4d", "--shards", "build/disfa"), ("hold disfa", "is of bp4d")),
        (("evaluate", FOLD, "--dataset", "bp4d", "--out", FOLD), ("holds a run",)),
        (("evaluate", FOLD, "--dataset", "disfa"), ("of disfa is in both train", "another data set")),
        (
            ("evaluate", "pretrained", "--dataset", "bp4d"),
            ("checkpoint of pretraining", "'fautrain finetune'"),
        ),
        (("probe", "--checkpoint", "build"), ("build holds no checkpoint",)),
        (("probe", "--checkpoint", RUN), ("holds runs of folds", "fold-1")),
        (("probe", "--checkpoint", "pretrained"), ("checkpoint of pretraining", "'fautrain finetune'")),
        (("probe", "--checkpoint", "step-00000007"), ("step-00000007 is no checkpoint",)),
        (("probe", "--checkpoint", FOLD, "--every-epoch"), ("has kept one checkpoint", "train.keep")),
        (("probe", "--checkpoint", FOLD), ("needs two subjects", "give it more frames")),
        (("recipes", "show", "fmae-iat", "--dataset", "bp4e"), ("there is no such benchmark", "bp4d")),
        (("recipes", "show", "fmae-iatt", "--dataset", "bp4d"), ("did you mean 'fmae-iat'?",)),
        (("recipes", "show", "fmae-vit-base", "--dataset", "bp4d"), ("fmae-vit-base is one of pretraining",)),
        (
            ("pretrain", "--shards", "build/disfa", "--out", "x", "--recipe", "fmae-iat"),
            ("fmae-iat is one of fine-tuning", "'fautrain finetune'", "fmae-vit-large"),
        ),
        (
            ("report", RUN),
            ("holds the folds of a fine-tuning run", f"{RUN}/report.html", "'fautrain evaluate"),
        ),
        (("report", FOLD), ("one fold of a fine-tuning run", "report.html")),
        (("checkpoint", "verify", RUN), ("holds runs of folds", "fold-1")),
        (("checkpoint", "verify", "build"), ("build holds no checkpoint",)),
    ],
)
def test_the_others_refuse(refused: Callable[..., str], arguments: Commands, words: Commands) -> None:
    said = refused(*arguments)
    assert all(word in said for word in words), said


def test_without_shards_the_two_commands_that_make_them_are_named(place: Path, tmp_path: Path) -> None:
    done = forked.run(tmp_path, *finetune())
    assert done.code == 2 and not (tmp_path / "build").exists()
    assert "build/disfa, where DISFA" in done.err and "--shards" in done.err
    assert "'facecorpus synth --sources disfa --out build/recordings'" in done.err
    assert "'facecorpus build --sources disfa --root build/recordings --out build/disfa'" in done.err


def test_weights_of_another_encoder_are_refused(refused: Callable[..., str]) -> None:
    said = refused(*finetune("--init", FOLD, "--set", "model.size=small", *OTHER))
    assert "width 192" in said and "set model.size to tiny" in said
    said = refused(*finetune("--init", FOLD, "--set", "model.patch_px=8", *OTHER))
    assert "set model.patch_px to 16" in said


# -- shards that are not as they should be -----------------------------------------------------------------


def test_a_corpus_without_labels_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    write_corpus(tmp_path / "faces", (4, 4))
    said = refused(*finetune("--shards", str(tmp_path / "faces"), *OTHER))
    assert "hold no named source" in said and "facecorpus build --sources disfa" in said


def _without_au12(row: Row) -> None:
    row["labels"] = [label for label in row["labels"] if label[0] != "AU12"]


def _never_au12_in_fold_1(row: Row) -> None:
    if row["identity"] in ("SN001", "SN002", "SN009", "SN010", "SN016", "SN026", "SN027", "SN030", "SN032"):
        row["labels"] = [(name, 0 if name == "AU12" else code) for name, code in row["labels"]]


def _as_a_flag(row: Row) -> None:
    row["labels"] = [(name, 9) for name, _ in row["labels"]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row.update(labels=None), ("has no labels", "facecorpus build --sources disfa")),
        (_without_au12, ("no frame has the label 'AU12'", "--set data.aus=1,2,4,6,9,25,26")),
        (
            _never_au12_in_fold_1,
            ("fold 1 of disfa has no positive frame to test on for AU12", "data.aus=1,2,4,6,9,25,26"),
        ),
        (_as_a_flag, ("has AU1=9, which disfa does not know", "SN001")),
        (lambda row: row.update(identity="SN099"), ("a subject that is in no fold of disfa",)),
        (lambda row: row.update(video="left"), ("counts the videos right", "hold left")),
    ],
)
def test_labels_that_cannot_be_used_are_refused(
    refused: Callable[..., str], tmp_path: Path, change: Callable[[Row], object], words: Commands
) -> None:
    shards = write_labelled(tmp_path / "disfa", "disfa", frames=2, change=change)
    said = refused(*finetune("--shards", str(shards), "--out", str(tmp_path / "run")))
    assert all(word in said for word in words), said


def test_people_who_are_missing_are_named(refused: Callable[..., str], tmp_path: Path) -> None:
    few = ("SN001", "SN002", "SN006", "SN011")
    shards = write_labelled(tmp_path / "disfa", "disfa", frames=20, subjects=few)
    said = refused(*finetune("--shards", str(shards), "--fold", "all", "--out", str(tmp_path / "run")))
    assert "fold 3 of disfa has no test frame" in said and "another --fold" in said


def test_a_damaged_picture_ends_it_with_its_name(place: Path, tmp_path: Path) -> None:
    shards = tmp_path / "disfa"
    shutil.copytree(place / "build" / "disfa", shards)
    (shards / "shards.parquet").unlink()  # else the hash is wrong, which is told without looking inside
    for tar in (shards / "shards").glob("*.tar"):
        data = bytearray(tar.read_bytes())
        data[512 + 200 : 512 + 900] = bytes(700)
        tar.write_bytes(data)
    done = forked.run(tmp_path, *finetune("--shards", str(shards), "--out", str(tmp_path / "run")))
    assert done.code == 2 and "Traceback" not in done.err
    assert "disfa-0000" in done.err.splitlines()[-1]


# -- what they say when all is well ------------------------------------------------------------------------


def test_a_benchmark_of_ones_own(place: Path, tmp_path: Path) -> None:

    text = (manifests.folder() / "disfa.toml").read_text("utf-8")
    (tmp_path / "mine.toml").write_text(text.replace('positive = ">= 2"', 'positive = ">= 1"'))
    line = finetune("--dataset", "mine.toml", "--shards", str(place / "build" / "disfa"))
    done = forked.run(tmp_path, *line)
    assert done.code == 0, done.err[-2000:]
    table = tmp_path / "build" / "finetune" / "mine-tiny" / "table.md"
    table.unlink()
    with contextlib.chdir(place):  # elsewhere the file is found as well
        app(["evaluate", str(table.parent)], standalone_mode=False)
    assert table.exists()


def test_a_whole_run_and_a_final_model_are_verified(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.chdir(place):
        for path in (FOLD, "pretrained", f"{FOLD}/final"):
            app(["checkpoint", "verify", path], standalone_mode=False)
    said = capsys.readouterr().out.splitlines()
    assert [line.rsplit("/", 1)[-1] for line in said] == [
        "step-00000001 is whole",
        "step-00000001 is whole",
        "final is a whole final model",
    ]


def test_a_run_is_looked_at_from_any_folder(place: Path, tmp_path: Path) -> None:
    """The shards of its configuration are found; that the frames are too few for a probe is told after."""
    with contextlib.chdir(tmp_path), pytest.raises(UserError, match="needs two subjects"):
        app(["probe", "--checkpoint", str(place / FOLD), "--out", "out"], standalone_mode=False)


def test_evaluate_and_probe_say_where_to_look(place: Path, tmp_path: Path) -> None:
    done = forked.run(place, "evaluate", RUN)
    assert done.code == 0 and "DISFA, 8 AUs" in done.out and f"report: {RUN}/report.html" in done.out
    out = str(tmp_path / "on-bp4d")
    done = forked.run(place, "evaluate", FOLD, "--dataset", "bp4d", "--out", out)
    assert done.code == 0 and f"report: {out}/report.html" in done.out, done.err


def test_recipes_of_fine_tuning_are_listed_and_shown(tmp_path: Path) -> None:
    listed = forked.run(tmp_path, "recipes").out
    assert all(name in listed for name in ("fmae ", "fmae-iat ", "fmae-iat-paper ", "tiny ", "mae-face "))
    shown = forked.run(tmp_path, "recipes", "show", "fmae-iat", "--dataset", "bp4d")
    config = json.loads(shown.out)
    assert (config["identity"]["strength"], config["train"]["epochs"]) == (2.0, 30)
    assert config["data"]["dataset"] == "bp4d" and "lambda" in shown.err
    shown = forked.run(tmp_path, "recipes", "show", "fmae-iat", "--set", "identity.strength=3")
    assert "--dataset is not given, so these are the values for disfa" in shown.err
    assert json.loads(shown.out)["identity"]["strength"] == 3.0
    tiny, tuned = (
        json.loads(forked.run(tmp_path, "recipes", "show", "tiny", *more).out)
        for more in ((), ("--dataset", "disfa"))
    )
    assert "loss" in tiny and "identity" in tuned


def test_bench_measures_fine_tuning(place: Path, tmp_path: Path) -> None:
    line = ["bench", "--shards", str(place / "build/disfa"), "--recipe", "tiny", "--dataset", "disfa"]
    line += settings(*SMALL, "data.cache=.cache/fautrain")
    done = forked.run(tmp_path, *line, "--seconds", "0.2", "--original", "--to", "rates.json")
    assert done.code == 0, done.err[-3000:]
    measured = json.loads((tmp_path / "rates.json").read_text())
    assert len(measured["images_per_s"]) == 4 and min(measured["images_per_s"].values()) > 0
    assert all(f"| {name} |" in done.out for name in measured["images_per_s"])
    assert all(f"bench: {name}: " in done.err for name in measured["images_per_s"])
