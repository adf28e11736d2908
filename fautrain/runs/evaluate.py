"""Tables of finished folds anew, and a model on a data set that it was not trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from facecorpus.errors import UserError
from fautrain.config import LabelledConfig, from_plain
from fautrain.data.benchmark import benchmark
from fautrain.data.folds import refuse_shared_subjects
from fautrain.data.provenance import is_drawn
from fautrain.evaluation import TEST, Header, Predictions, evaluate_fold, write_predictions
from fautrain.evaluation.predictions import forget_predictions
from fautrain.files import read_json
from fautrain.runs.finetuning import refuse_other_tables, write_tables
from fautrain.runs.folder import CONFIG
from fautrain.runs.inference import checkpoints, load_trained, predictions
from fautrain.tasks.labelled import fold_of, open_labels


def evaluate(out: Path) -> str:
    """Write the tables of a run again from the predictions of its folds; returns what a terminal shows.

    Raises:
        UserError: there are none, or they do not belong together.
    """
    runs = sorted(path.parent for path in out.glob("seed-*/fold-*/predictions"))
    if not runs:
        raise UserError(f"{out} holds no predictions of folds; give the --out of 'fautrain finetune'")
    results = [evaluate_fold(run) for run in runs]
    # A benchmark of one's own is known by its file alone.
    config = runs[0] / CONFIG
    named = from_plain(read_json(config, "restore it from a checkpoint")) if config.is_file() else None
    bench = benchmark(named.data.dataset if isinstance(named, LabelledConfig) else results[0].dataset)
    return write_tables(out, bench, results)


def evaluate_across(where: Path, dataset: str, shards: str, out: Path) -> str:
    """Test a trained model on all of another data set, on the outputs that both have; returns what a
    terminal shows of it.

    Args:
        where: the run of one fold, or a checkpoint. dataset: benchmark to test on. shards: built from it.
        out: folder for predictions, `result.json`, `table.md` and `report.html`.

    Raises:
        UserError: they share no output, somebody tested was trained on, or the shards are another's.
    """
    trained = load_trained(checkpoints(where)[-1])
    bench = benchmark(dataset)
    ours, own = trained.target.outputs, trained.benchmark
    shared = tuple(name for name in bench.outputs if name in ours and bench.kind == own.kind)
    if not shared:
        raise UserError(
            f"--dataset {dataset}: {bench.name} shares no {trained.target.words.output} with those that were "
            f"trained on ({', '.join(ours)}); choose another data set"
        )
    if (out / CONFIG).exists():
        raise UserError(f"--out {out} holds a run, whose predictions would be lost; choose another folder")
    refuse_other_tables(out)
    config = trained.config
    labels = open_labels(replace(config, data=replace(config.data, shards=shards)), bench, 0, 1, shared)
    chosen = np.arange(len(labels), dtype=np.int64)
    if bench.population == own.population:
        trained_on = open_labels(config, own, 0, 1)
        refuse_shared_subjects(trained_on, fold_of(config, trained_on).parts.train, labels, chosen)
    columns = [ours.index(name) for name in shared]
    header = Header(
        dataset=bench.name,
        kind=bench.kind,
        outputs=shared,
        epoch=max(trained.epochs, 1),
        epochs=config.train.epochs,
        seed=config.seed,
        trained_on=own.name,
        drawn=is_drawn(labels.corpus),
        absent=labels.absent,
    )
    forget_predictions(out)  # another checkpoint's, from an earlier call
    write_predictions(
        out,
        Predictions(
            header,
            part=np.full(len(labels), TEST),
            prediction=bench.target.of_some(predictions(trained, labels, chosen)[:, columns]),
            **labels.told(chosen),
        ),
    )
    return write_tables(out, bench, [evaluate_fold(out)])
