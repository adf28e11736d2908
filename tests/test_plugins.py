"""What a module of one's own brings through FACE_PLUGINS: one of each kind, written here alone, runs end to
end through the commands."""

from __future__ import annotations

import importlib
import json
import os
import re
import textwrap
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from facecorpus import plugins
from facecorpus.errors import UserError
from fautrain.data.benchmark import benchmark
from tests import forked
from tests.conftest import build_arguments, run, tree
from tests.data_shards import write_corpus
from tests.labelled_shards import SMALL, write_labelled
from tests.small_corpus import draw_pictures

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

TASK = '''
    from dataclasses import dataclass

    from torch import nn

    from fautrain.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig, configuration
    from fautrain.data import make_loader
    from fautrain.recipes import recipe
    from fautrain.task import Task, loader_options, task

    @configuration("colour")
    @dataclass(frozen=True)
    class ColourConfig(RunConfig):
        """Learns a picture's mean colour."""

        task: str = "colour"
        power: int = 2
        """Exponent of the error."""

    @task("colour")
    class Colour(Task):
        def __init__(self, config, samples):
            super().__init__(config, samples)
            self.config, self.corpus, self.layer = config, samples, nn.Linear(3, 3)

        @property
        def network(self):
            return self.layer

        def loader(self, rank, world):
            return make_loader(self.corpus, loader_options(self.config, rank, world))

        def look(self, run_dir, rank, world):
            return None

        def inputs(self, batch):
            return (batch.images,)

        def forward(self, *inputs):
            colours = self.normalised(inputs[0]).mean((2, 3))
            return {"loss": (self.layer(colours) - colours).abs().pow(self.config.power).mean()}

        def training_flops(self):
            return 54

    @recipe("colour", task="colour")
    def colour():
        """Ours: three numbers from three numbers."""
        return ColourConfig(
            name="colour",
            about="Learns the mean colour.",
            model=ModelConfig(image_px=32),
            data=DataConfig(batch_per_step=8, workers=0),
            optim=OptimConfig(lr=0.05, warmup_epochs=0),
            train=TrainConfig(epochs=4),
        )
'''

ADAPTER = '''
    from dataclasses import replace

    from torch import nn

    from fautrain.models.adapters import adapter
    from fautrain.recipes import recipe
    from fautrain.recipes.finetuning import tiny

    class Bottleneck(nn.Sequential):
        def __init__(self, width):
            super().__init__(nn.Linear(width, 4), nn.ReLU(), nn.Linear(4, width))
            nn.init.zeros_(self[2].weight)

    @adapter("bottleneck")
    def bottleneck(model, config):
        for parameter in model.blocks.parameters():
            parameter.requires_grad_(False)
        for block in model.blocks:
            block.attn_adapter = Bottleneck(model.size.width)
            block.mlp_adapter = Bottleneck(model.size.width)

    @recipe("bottleneck", task="au")
    def tiny_with_adapters(dataset):
        """Ours: blocks that stay as they are, and adapters that learn."""
        base = tiny(dataset)
        return replace(
            base, name="bottleneck", about="For tests.", model=replace(base.model, adapter="bottleneck")
        )
'''

TARGET = '''
    from dataclasses import dataclass

    import numpy as np

    from fautrain.losses import LOSSES
    from fautrain.targets import TARGETS, UNCODED, Measure, Target, Words

    @LOSSES.register("distance")
    def distance(options, rates):
        """The mean distance, whatever the options and how often an output is positive."""
        assert rates.shape == (2,) and 0 < rates.min() and rates.max() < 1
        return mean_distance

    def mean_distance(logits, targets):
        """Mean distance over the coded labels."""
        coded = targets.isfinite()
        return (logits - targets).abs()[coded].sum() / coded.sum().clamp(min=1)

    @TARGETS.register("strain")
    @dataclass(frozen=True, kw_only=True)
    class Strain(Target):
        """How strongly something moves: the code itself, as a number."""

        headline = Measure("MAE", percent=False, higher=False, about="the mean distance from the code")
        measures = (Measure("correlation", percent=False, by_fold=True), Measure("near", about="within 1"))
        loss = "distance"
        words = Words(
            baseline="Always the mean",
            baseline_short="the mean",
            baseline_phrase="saying the mean of all codes each time",
            output="movement",
            short="movement",
        )

        movements: tuple[str, ...]
        keys: tuple[str, ...]

        @property
        def outputs(self):
            return self.movements

        @property
        def labels(self):
            return self.keys

        def known(self, codes):
            return (codes == UNCODED) | ((codes >= 0) & (codes <= 5))

        def decode(self, codes):
            return np.where(codes == UNCODED, np.nan, codes).astype(np.float32)

        @staticmethod
        def activation(logits):
            return logits

        @staticmethod
        def check(prediction, target):
            if (target < 0).any():
                raise ValueError("a target is below 0")

        @classmethod
        def statistics(cls, prediction, target, group=None, groups=1):
            coded = ~np.isnan(target)
            sums = np.stack([coded, np.where(coded, abs(prediction - target), 0)], axis=-1)
            found = np.zeros((groups, *sums.shape[1:]))
            np.add.at(found, np.zeros(len(sums), int) if group is None else group, sums)
            return found[:, None]

        @staticmethod
        def score(statistics):
            return statistics[..., 1] / np.maximum(statistics[..., 0], 1)

        @staticmethod
        def measured(prediction, target, choice):
            pairs = list(zip(prediction.T, target.T))
            return {
                "correlation": np.array([np.corrcoef(p, t)[0, 1] for p, t in pairs]),
                "near": np.array([(abs(p - t) <= 1).mean() for p, t in pairs]),
            }

        @staticmethod
        def baseline(target):
            return np.broadcast_to(np.nanmean(target, axis=0), target.shape)

        @staticmethod
        def support(statistics):
            return [f"{count:.0f} coded" for count in statistics[:, 0]]
'''

STRAIN = """
    title = "Movements of DISFA"
    kind = "strain"
    source = "disfa"
    split = "folds"
    movements = ["brows", "lips"]
    keys = ["AU4", "AU12"]
    videos = ["right"]
"""

ENGINE = '''
    import pathlib

    from facecorpus.engines import ENGINES

    @ENGINES.register("toy_backwards")
    def run(function, context, tasks, workers, *, revive=None):
        """One task after the other in this process, the last one first."""
        for task in reversed(tasks):
            with pathlib.Path(context.out + ".log").open("a") as log:
                log.write(f"{task.phase}\\n")
            yield task, function(context, task)
'''


FILTER = '''
    from facecorpus.filters import Limit, measured, rejects
    from facecorpus.reasons import change

    MAX_YAW = Limit("max_yaw", float | None, None, "Degrees that the head may be turned aside.", high=90.0)
    REMEDY = change("max_yaw", "higher", "the recipe drops heads turned so far")

    @rejects("faces", MAX_YAW, remedy=REMEDY)
    def turned_away(record, limits, others):
        """The head is turned too far aside."""
        yaw = abs(measured(record, "yaw_deg"))
        return f"the yaw is {yaw:.2f}, above {limits.max_yaw:g}" if yaw > limits.max_yaw else None
'''

DETECTOR = '''
    import numpy as np
    from facecorpus.faces.detector import DETECTORS
    from facecorpus.faces.face import Face

    @DETECTORS.register("toy-middle")
    class Middle:
        """Sees a face in the middle of every picture."""

        name = build = "toy-middle-1"

        def __init__(self, weights, device):
            pass

        def detect_batch(self, images):
            return [[self.face(*image.shape[:2])] for image in images]

        def face(self, height, width):
            x, y, side = width / 2, height / 2, min(height, width) / 2
            steps = [(-0.2, -0.2), (0.2, -0.2), (0, 0), (-0.15, 0.25), (0.15, 0.25)]
            points = np.array(steps, np.float32) * side + np.array([x, y], np.float32)
            return Face((x - side / 2, y - side / 2, x + side / 2, y + side / 2), points, 0.9375)
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
    arguments = ("--sources", "toy_album:toy_album", *arguments[2:])
    without = run("build", *arguments, *more, check=False)
    assert without.returncode == 2
    assert "no adapter 'toy_album'" in without.stderr
    assert "FACE_PLUGINS may bring more" in without.stderr


def rows_of(out: Path) -> list[dict[str, object]]:
    return [row for path in out.glob("scores/**/*.parquet") for row in pq.read_table(path).to_pylist()]


def test_a_filter(tmp_path: Path) -> None:
    """Its reason, its limit and its rule in one file: off until a recipe sets the limit, then in the ledger,
    the page and the alarms like our own."""
    draw_pictures(tmp_path)
    environment = plug(tmp_path, "turned", FILTER)
    arguments = ["--root", str(tmp_path), "--sources", "folder", "--recipe", "sample", "--workers", "2"]

    def build(name: str, *settings: str) -> str:
        options = [word for setting in ("inputs_per_unit=3", *settings) for word in ("--set", setting)]
        done = run("build", *arguments, "--out", str(tmp_path / name), *options, env=environment, check=False)
        return done.stdout + done.stderr

    build("off")
    assert "max_yaw" not in (tmp_path / "off/corpus.json").read_text("utf-8")
    yaws = sorted(abs(float(str(row["yaw_deg"]))) for row in rows_of(tmp_path / "off") if row["yaw_deg"])
    limit = sum(sorted(set(yaws))[1:3]) / 2
    said = build("on", f"limits.max_yaw={limit}")
    assert f"{sum(yaw > limit for yaw in yaws)} turned away" in said
    assert "the recipe drops heads turned so far; to keep them, set it higher: --set limits.max_yaw=" in said
    assert "The head is turned too far aside." in (tmp_path / "on/report.html").read_text("utf-8")
    found = {str(row["detail"]) for row in rows_of(tmp_path / "on") if row["reason"] == "turned_away"}
    assert all(f", above {limit:g}" in detail for detail in found) and found
    assert "limits.max_yaw is 91.0; give a number from 0 to 90" in build("bad", "limits.max_yaw=91")
    assert "did you mean 'limits.max_yaw'?" in build("bad", "limits.max_yew=9")
    without = run("stats", str(tmp_path / "on"), check=False).stderr
    assert "corpus.json: limits.max_yaw is no value of the configuration" in without


def test_a_detector(tmp_path: Path) -> None:
    """One file, chosen by name, in worker processes too; `given` and `auto` are not it."""
    draw_pictures(tmp_path)
    environment = plug(tmp_path, "middle", DETECTOR)
    settings = ["--set", "detector=toy-middle", "--set", "inputs_per_unit=3", "--workers", "2"]
    arguments = ["build", "--root", str(tmp_path), "--sources", "folder", "--out", str(tmp_path / "out")]
    run(*arguments, "--recipe", "sample", *settings, env=environment)
    assert json.loads((tmp_path / "out/corpus.json").read_text("utf-8"))["detector_build"] == "toy-middle-1"
    assert {row["face_score"] for row in rows_of(tmp_path / "out")} == {0.9375, None}
    without = run(*arguments, "--recipe", "sample", *settings, check=False).stderr
    assert "recipe value detector is 'toy-middle'; give one of auto, retinaface-mobilenet025" in without
    assert "FACE_PLUGINS may bring more" in without


def test_a_task_and_its_recipe(tmp_path: Path) -> None:
    """Listed, explained field by field, run, gone on with and timed as those that come with the package."""
    write_corpus(tmp_path / "corpus", (12, 12))
    environment = plug(tmp_path, "colours", TASK)

    def fautrain(*arguments: str, code: int = 0) -> forked.Done:
        done = forked.start(tmp_path, *arguments, environment=environment).end()
        assert done.code == code, done.err
        return done

    assert "Learns the mean colour." in fautrain("recipes").out
    shown = fautrain("recipes", "show", "colour", "--set", "power=1")
    assert json.loads(shown.out)["power"] == 1
    assert "Ours: three numbers" in shown.err and "power = 1\n    Exponent of the error." in shown.err
    data = ("--shards", "corpus", "--recipe", "colour")
    whole = ("pretrain", *data, "--out", "run")
    fautrain(*whole, "--set", "train.max_steps=5")
    fautrain(*whole)
    lines = (tmp_path / "run/log.jsonl").read_text("utf-8").splitlines()
    assert json.loads((tmp_path / "run/config.json").read_text("utf-8"))["task"] == "colour"
    assert "done after step 12" in fautrain(*whole[:-1], "again", "--set", "log.every_steps=4").err
    assert len(lines) == 2 and "step-00000012" in fautrain("checkpoint", "verify", "run").out
    assert "loader alone" in fautrain("bench", *data, "--seconds", "0.1").out
    refusals = (
        ("finetune", "--dataset", "disfa", "--recipe", "colour"),
        ("pretrain", *data, "--out", "other", "--set", "task=mae"),
        ("pretrain", *data, "--out", "other", "--set", "powr=1"),
    )
    words = ("colour is one of pretraining", "task='mae' is not 'colour'", "did you mean 'power'?")
    for arguments, says in zip(refusals, words, strict=True):
        assert says in fautrain(*arguments, code=2).err
    without = forked.run(tmp_path, *whole)
    assert without.code == 2 and "there is no such recipe" in without.err and "FACE_PLUGINS" in without.err


def test_an_adapter_and_its_recipe(tmp_path: Path) -> None:
    """The blocks stay as they were drawn, the adapters learn, and the final model is read with them."""
    write_labelled(tmp_path / "disfa", "disfa")
    write_labelled(tmp_path / "bp4d", "bp4d")
    environment = plug(tmp_path, "adapters", ADAPTER)

    def fautrain(*arguments: str) -> forked.Done:
        done = forked.start(tmp_path, *arguments, environment=environment).end()
        assert done.code == 0, done.err
        return done

    settings = [word for setting in SMALL for word in ("--set", setting)]
    data = ("--dataset", "disfa", "--shards", "disfa", "--fold", "1", "--out", "run")
    few = ("--set", "train.max_steps=6", "--set", "train.checkpoint_every_steps=3")
    fautrain("finetune", *data, "--recipe", "bottleneck", *settings, *few)
    fold = tmp_path / "run/seed-0/fold-1"
    before, after = (load_file(fold / f"checkpoints/step-0000000{step}/model.safetensors") for step in (3, 6))
    same = {name for name in before if torch.equal(before[name], after[name])}
    adapters = {name for name in before if "_adapter" in name}
    assert same == {name for name in before if name.startswith("blocks.")} - adapters
    assert len(adapters) == 4 * 2 * 4
    assert load_file(fold / "final/model.safetensors").keys() >= adapters
    assert "whole final model" in fautrain("checkpoint", "verify", str(fold / "final")).out
    across = ("--dataset", "bp4d", "--shards", "bp4d", "--out", "across")
    assert "AU1" in fautrain("evaluate", str(fold / "final"), *across).out
    arguments = ("finetune", *data[:-1], "other", *settings, "--set", "model.adapter=x")
    wrong = forked.run(tmp_path, *arguments, "--recipe", "tiny")
    assert wrong.code == 2 and "model.adapter=x: there is no such adapter" in wrong.err


def test_a_target_and_its_loss(tmp_path: Path) -> None:
    """A headline measure of which less is better, and nothing to choose but the epoch: learnt by its own
    loss, told in its own words, kept in the final model."""
    known = benchmark("disfa")
    write_labelled(tmp_path / "disfa", "disfa")
    people = f"subjects = {json.dumps(known.subjects)}\nfolds = {json.dumps(known.folds)}\n"
    (tmp_path / "strain.toml").write_text(textwrap.dedent(STRAIN) + people, "utf-8")
    environment = plug(tmp_path, "strain", TARGET)

    def fautrain(*arguments: str, code: int = 0) -> forked.Done:
        done = forked.start(tmp_path, *arguments, environment=environment).end()
        assert done.code == code, done.err
        return done

    settings = [word for setting in (*SMALL, "train.epochs=5") for word in ("--set", setting)]
    data = ("--dataset", "strain.toml", "--shards", "disfa", "--recipe", "tiny", *settings)
    told = fautrain("finetune", *data, "--fold", "1,2", "--out", "run")
    head = "           MAE last     selected    published     the mean"
    assert f"Movements of DISFA; MAE, folds 1, 2 of 3 only\n\n{head}\nbrows" in told.out
    assert "test mae 0." in told.err

    result = json.loads((tmp_path / "run/result.json").read_text("utf-8"))
    first, fold = result["runs"][0], tmp_path / "run/seed-0/fold-1"
    assert (result["kind"], result["outputs"]) == ("strain", ["brows", "lips"])
    assert first["published"]["mean"] == min(first["curves"]["test"]) < max(first["curves"]["test"])
    validation = first["curves"]["validation"]
    assert first["selected"]["epoch"] == 1 + validation.index(min(validation))
    assert result["last"]["mean"] < 0.9 * result["baseline"]["mean"]
    low, high = result["last"]["bounds"]["mean"]
    assert low < result["last"]["mean"] < high
    table = (tmp_path / "run/table.md").read_text("utf-8")
    last = [f"{value:.3f}" for value in (*result["last"]["scores"], result["last"]["mean"])]
    assert f"| **MAE, last epoch** | folds 1, 2 of 3 only | {' | '.join(last[:2])} | **{last[2]}** |" in table
    near = [100 * value for value in result["last"]["measures"]["near"]]
    assert f"|  | near, in percent | {near[0]:.1f} | {near[1]:.1f} | {sum(near) / 2:.1f} |" in table
    assert "## MAE per movement\n" in table and "## Other measures\n" in table
    assert "| fold | seed | which epoch | epoch | mean MAE | correlation |" in table
    assert "72 coded" in table and "threshold" not in table and "AU" not in table.replace("AUFormer", "")
    page = (tmp_path / "run/report.html").read_text("utf-8")
    assert "Mean MAE over epochs" in page and "threshold" not in page.replace("thresholds{", "")

    card = json.loads((fold / "final/model.json").read_text("utf-8"))
    assert (card["kind"], card["outputs"], card["threshold"]) == ("strain", ["brows", "lips"], None)
    assert "whole final model" in fautrain("checkpoint", "verify", str(fold / "final")).out
    before = (tmp_path / "run/result.json").read_bytes()
    assert fautrain("evaluate", "run").out and (tmp_path / "run/result.json").read_bytes() == before
    refused = fautrain("finetune", *data, "--out", "other", "--set", "loss.kind=distant", code=2)
    assert "there is no loss distant; did you mean 'distance'?" in refused.err
    without = forked.run(tmp_path, "finetune", *data, "--out", "other")
    assert without.code == 2 and "strain.toml: there is no kind of target strain" in without.err


def test_an_engine(tmp_path: Path, drawn: Path, corpus: Path) -> None:
    """One function: it runs the units of all phases, and the bytes are those of the local engine."""
    environment, out = plug(tmp_path, "backwards", ENGINE), tmp_path / "out"
    run(*build_arguments(drawn, out, more=("--engine", "toy_backwards")), env=environment)
    assert tree(out) == tree(corpus)
    phases = Counter(Path(f"{out}.log").read_text("utf-8").split())
    assert phases["verify"] == sum(count for phase, count in phases.items() if phase != "verify") + 1
    assert list(phases) == ["inventory", "score", "select", "materialise", "verify"]
    run("verify", str(out), "--engine", "toy_backwards", env=environment)
    assert Path(f"{out}.log").read_text("utf-8").split().count("verify") == 2 * phases["verify"]
    unknown = run("score", str(out), "--engine", "locl", check=False)
    assert unknown.returncode == 2
    assert "--engine locl: there is no such engine; did you mean 'local'?" in unknown.stderr


def test_the_list_of_what_a_new_x_touches() -> None:
    """Everything that is registered lies in the folder that CONTRIBUTING names, and its toy is shown here."""
    text = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(r"^\| (\w+) \| `([\w/]+)/`.*\| `([\w.]+)\.([A-Z]+)` \| `(\w+)` \|$", text, re.MULTILINE)
    assert [row[0] for row in rows] == [
        *("source", "filter", "detector", "engine"),
        *("target", "loss", "task", "recipe", "adapter"),
    ]
    for _, folder, module, name, shown in rows:
        assert callable(globals()[shown])
        registry = getattr(importlib.import_module(module), name)
        for registered in registry:
            thing = registry.get(registered)
            module_of = getattr(thing, "func", thing).__module__
            assert module_of.startswith(folder.replace("/", "."))


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
