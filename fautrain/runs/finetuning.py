"""Fine-tuning for action units: folds one after the other, each a run of its own, then the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from facecorpus.errors import UserError
from fautrain import checkpoint
from fautrain.config import LabelledConfig
from fautrain.data.benchmark import Benchmark, benchmark
from fautrain.data.labels import LabelledSet
from fautrain.data.order import steps_per_epoch
from fautrain.data.provenance import crops, is_drawn
from fautrain.data.published import differences
from fautrain.evaluation import evaluate_fold
from fautrain.evaluation.page import render
from fautrain.evaluation.predictions import forget_predictions
from fautrain.evaluation.result import FoldResult, aggregate, read_fold, write_result
from fautrain.evaluation.text import brief, markdown
from fautrain.evaluation.words import missing
from fautrain.files import MODEL_FILE, publish, refuse_others
from fautrain.runs.final import FOLDER as FINAL
from fautrain.runs.final import choices, write_final
from fautrain.runs.folder import choose, refuse_changes
from fautrain.runs.training import begin, run
from fautrain.signals import stop_signals
from fautrain.tasks.kept import weights_path
from fautrain.tasks.labelled import Fold, fold_of, open_labels
from fautrain.trainer import Accelerator, Trainer, make_accelerator

BEFORE = "before"
"""Folder, in a fold's, of the run whose weights it starts from, where training has two stages."""
DONE = "fold.json"
"""Written last into a fold's folder: its result."""
RESULT, TABLE, PAGE = "result.json", "table.md", "report.html"
"""Written into the run's folder when all folds are done."""


def fold_folder(out: Path, seed: int, fold: int) -> Path:
    """Where the run of one fold with one seed is."""
    return out / f"seed-{seed}" / f"fold-{fold}"


class Folds(NamedTuple):
    """Folds that can be trained: a run of its own for each of them and each seed."""

    out: Path
    labels: LabelledSet
    runs: list[LabelledConfig]
    parts: list[Fold]


def finetune(
    config: LabelledConfig, out: Path, *, folds: Sequence[int], seeds: Sequence[int], resume: str
) -> None:
    """Train and evaluate folds in `out` and show the tables.

    Args:
        config: resolved but for the fold and the seed. out: made if it is not there. folds: numbers from 1;
            none means all of the benchmark. seeds: each is a run over all folds. resume: "auto" goes on where
            a stopped run was, "no" refuses a folder that holds one.

    Raises:
        Stopped: a signal ended it before its time.
        UserError: something in the settings, the shards, the weights or the folder is unusable. Whatever can
            be known before training is said before training.
    """
    accelerator = make_accelerator(config)
    train_folds(prepare(config, out, folds, seeds, resume, accelerator), resume, accelerator)
    accelerator.end_training()


def prepare(
    config: LabelledConfig,
    out: Path,
    folds: Sequence[int],
    seeds: Sequence[int],
    resume: str,
    accelerator: Accelerator,
) -> Folds:
    """The folds of `finetune`, all checked before one is trained: a mistake must not wait for a night."""
    bench = benchmark(config.data.dataset)
    wanted = tuple(folds) or tuple(bench.numbers)
    if resume not in ("auto", "no"):
        raise UserError(f"--resume {resume}: give auto or no")
    labels = open_labels(config, bench, accelerator.process_index, accelerator.num_processes)
    runs = [
        replace(config, seed=seed, data=replace(config.data, fold=fold)) for seed in seeds for fold in wanted
    ]
    parts = [fold_of(one, labels) for one in runs]
    if accelerator.is_main_process:
        refuse_other_tables(out)
        for one in runs:
            _check_folder(one, fold_folder(out, one.seed, one.data.fold), resume)
    return Folds(out, labels, runs, parts)


def train_folds(folds: Folds, resume: str, accelerator: Accelerator) -> None:
    """Train and evaluate what `prepare` gave, and show the tables."""
    out, labels, runs, parts = folds
    bench = labels.benchmark
    if accelerator.is_main_process:
        if labels.absent:
            print(f"warning: {missing(labels.absent, bench)}", flush=True)
        for sentence in () if is_drawn(labels.corpus) else differences(labels):
            print(f"note: {sentence}", flush=True)
    with stop_signals():  # a signal at the end of one fold must not be forgotten in the next
        for one, fold in zip(runs, parts, strict=True):
            _fold(one, fold, fold_folder(out, one.seed, one.data.fold), resume, accelerator)
    if accelerator.is_main_process:
        results = [read_fold(fold_folder(out, r.seed, r.data.fold) / DONE) for r in runs]
        print(write_tables(out, bench, results), flush=True)


def refuse_other_tables(out: Path) -> None:
    """Raises a UserError where the tables would replace files that `write_tables` did not write."""
    refuse_others(out, (RESULT, TABLE, PAGE), lambda keys: keys >= {"runs", "notes"})


def write_tables(out: Path, bench: Benchmark, folds: Sequence[FoldResult]) -> str:
    """The results of folds together, as JSON, Markdown and a page; returns what a terminal shows of them."""
    result = aggregate(folds)
    write_result(result, out / RESULT)
    publish(out / TABLE, markdown(result, bench))
    publish(out / PAGE, render(result, bench))
    return f"{brief(result, bench)}\nall tables: {out / TABLE}\nreport: {out / PAGE}"


def _check_folder(config: LabelledConfig, run_dir: Path, resume: str) -> None:
    if (first := config.before()) is not None:
        _check_folder(first, run_dir / BEFORE, resume)
    if resume == "no":
        choose(run_dir, resume)
    elif checkpoint.steps(run_dir):
        refuse_changes(config, run_dir)


def _fold(config: LabelledConfig, fold: Fold, run_dir: Path, resume: str, accelerator: Accelerator) -> None:
    found = begin(config, run_dir, resume, accelerator)
    if found is not None and _is_done(config, fold, run_dir, found):
        return
    if accelerator.is_main_process:
        if found is None:
            forget_predictions(run_dir)  # what a run left that never had a checkpoint
        print(f"fold {config.data.fold}, seed {config.seed}: {fold.about}", flush=True)
    if found is None:
        fold = fold._replace(before=_stage_before(config, fold, run_dir, resume, accelerator))
    trainer = run(config, run_dir, found, accelerator, fold)
    if accelerator.is_main_process:
        result = evaluate_fold(run_dir)
        _write_final(config, fold, run_dir, result, trainer)
        write_result(result, run_dir / DONE)
    accelerator.wait_for_everyone()


def _stage_before(
    config: LabelledConfig, fold: Fold, run_dir: Path, resume: str, accelerator: Accelerator
) -> Path | None:
    """The last checkpoint of the stage before, trained to its end; None where there is none."""
    first = config.before()
    if first is None:
        return None
    folder = run_dir / BEFORE
    if accelerator.is_main_process:
        print(f"the stage before ({first.task}) is in {folder}", flush=True)
    trainer = run(first, folder, begin(first, folder, resume, accelerator), accelerator, fold)
    return folder / checkpoint.FOLDER / checkpoint.step_name(trainer.progress.step)


def _is_done(config: LabelledConfig, fold: Fold, run_dir: Path, found: Path) -> bool:
    """Whether nothing is left to do after checkpoint `found`.

    Raises:
        UserError: it was trained on other samples.
    """
    steps = config.train.epochs * steps_per_epoch(len(fold.parts.train), config.data.batch_per_step)
    done = checkpoint.step_of(found) or 0
    if not (run_dir / DONE).exists() or done < min(steps, config.train.max_steps or steps):
        return False
    checkpoint.refuse_other_samples(steps, checkpoint.extra_of(found), fold.fingerprint())
    return True


def _write_final(
    config: LabelledConfig, fold: Fold, run_dir: Path, result: FoldResult, trainer: Trainer
) -> None:
    """The model of the epoch that validation subjects chose, else of the last one."""
    columns = choices(result)
    best = result.selected and weights_path(run_dir, result.selected.epoch)
    chosen = "selected" if best and best.is_file() else "last"
    column = columns[chosen]
    assert column is not None
    last = run_dir / checkpoint.FOLDER / checkpoint.step_name(trainer.progress.step) / MODEL_FILE
    labels, parts, _ = fold
    bench = labels.benchmark
    write_final(
        run_dir / FINAL,
        best if best and chosen == "selected" else last,
        {
            "kind": bench.kind,
            "outputs": labels.outputs,
            "image_px": config.model.image_px,
            "mean": config.data.mean,
            "std": config.data.std,
            "precision": "fp32" if trainer.accelerator.mixed_precision == "no" else "bf16",
            "epoch": column.epoch,
            "chosen": chosen,
            "threshold": column.threshold,
            **columns,
            "drawn": result.drawn,
            "train_frames": len(parts.train),
            "train_subjects": () if bench.unit == "picture" else labels.names(parts.train),
            "config": config,
            "benchmark": bench,
            "crops": crops(labels.corpus),
        },
    )
