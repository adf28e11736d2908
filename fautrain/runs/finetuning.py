"""Fine-tuning for action units: folds one after the other, each a run of its own, then the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fautrain import checkpoint
from fautrain.config import FinetuneConfig
from fautrain.data import Loader, make_loader, open_corpus, shard_cache
from fautrain.data.benchmark import Benchmark, benchmark
from fautrain.data.folds import Split, split
from fautrain.data.labels import LabelledSet, read_labels
from fautrain.data.loader import ordered_loader
from fautrain.data.order import steps_per_epoch
from fautrain.data.provenance import crops, is_drawn
from fautrain.errors import UserError
from fautrain.evaluation import evaluate_fold
from fautrain.evaluation.files import refuse_others
from fautrain.evaluation.page import write_page
from fautrain.evaluation.predictions import forget_predictions
from fautrain.evaluation.result import FoldResult, aggregate, read_fold, write_result
from fautrain.evaluation.text import brief, markdown
from fautrain.evaluation.words import missing
from fautrain.models.weights import MODEL_FILE
from fautrain.runs.final import FOLDER as FINAL
from fautrain.runs.final import choices, write_final
from fautrain.runs.folder import choose, refuse_changes
from fautrain.runs.training import begin, train
from fautrain.signals import stop_signals
from fautrain.tasks.au import ActionUnitTask
from fautrain.tasks.au_look import Predictions
from fautrain.tasks.kept import weights_path
from fautrain.trainer import Accelerator, Trainer, make_accelerator

DONE = "fold.json"
"""Written last into a fold's folder: its result."""
RESULT, TABLE, PAGE = "result.json", "table.md", "report.html"
"""Written into the run's folder when all folds are done."""


def fold_folder(out: Path, seed: int, fold: int) -> Path:
    """Where the run of one fold with one seed is."""
    return out / f"seed-{seed}" / f"fold-{fold}"


def finetune(
    config: FinetuneConfig, out: Path, *, folds: Sequence[int], seeds: Sequence[int], resume: str
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
    bench = benchmark(config.data.dataset)
    wanted = tuple(folds) or tuple(range(1, len(bench.folds) + 1))
    if resume not in ("auto", "no"):
        raise UserError(f"--resume {resume}: give auto or no")
    accelerator = make_accelerator(config)
    labels = open_labels(config, bench, accelerator.process_index, accelerator.num_processes)
    runs = [
        replace(config, seed=seed, data=replace(config.data, fold=fold)) for seed in seeds for fold in wanted
    ]
    # All of them first: a mistake must not wait for a night.
    splits = [_split(run, labels) for run in runs]
    if accelerator.is_main_process:
        refuse_other_tables(out)
        for run in runs:
            _check_folder(run, fold_folder(out, run.seed, run.data.fold), resume)
        if labels.absent:
            print(f"warning: {missing(labels.absent, bench)}", flush=True)
    with stop_signals():  # a signal at the end of one fold must not be forgotten in the next
        for run, parts in zip(runs, splits, strict=True):
            where = fold_folder(out, run.seed, run.data.fold)
            _fold(run, parts, labels, where, resume, accelerator)
    if accelerator.is_main_process:
        results = [read_fold(fold_folder(out, r.seed, r.data.fold) / DONE) for r in runs]
        print(write_tables(out, bench, results), flush=True)
    accelerator.end_training()


def refuse_other_tables(out: Path) -> None:
    """Raises a UserError where the tables would replace files that `write_tables` did not write."""
    refuse_others(out, (RESULT, TABLE, PAGE), lambda keys: keys >= {"runs", "notes"})


def write_tables(out: Path, bench: Benchmark, folds: Sequence[FoldResult]) -> str:
    """The results of folds together, as JSON, Markdown and a page; returns what a terminal shows of them."""
    result = aggregate(folds)
    write_result(result, out / RESULT)
    (out / TABLE).write_text(markdown(result, bench), "utf-8")
    write_page(result, bench, out / PAGE)
    return f"{brief(result, bench)}\nall tables: {out / TABLE}\nreport: {out / PAGE}"


def open_labels(config: FinetuneConfig, bench: Benchmark, rank: int, world: int) -> LabelledSet:
    """The labelled frames of the shards that `config.data` names.

    Raises:
        UserError: there are none, or they are another data set's.
    """
    shards = config.data.shards or f"build/{bench.name}"
    if not config.data.shards and not Path(shards).exists():
        raise UserError(
            f"--shards is not given and {shards}, where {bench.title} would be, does not exist; give the "
            f"shards of your own, or draw people with 'facecorpus synth --sources {bench.source} --out "
            f"build/recordings' and 'facecorpus build --sources {bench.source} --root build/recordings "
            f"--out {shards}'"
        )
    corpus = open_corpus(shards, shard_cache(config.data.cache), True, rank, world)
    return read_labels(corpus, bench, config.data.aus)


def _split(config: FinetuneConfig, labels: LabelledSet) -> Split:
    data = config.data
    return split(labels, data.fold, validation=data.validation, seed=config.seed, every=data.every)


def _check_folder(config: FinetuneConfig, run_dir: Path, resume: str) -> None:
    if resume == "no":
        choose(run_dir, resume)
    elif checkpoint.steps(run_dir):
        refuse_changes(config, run_dir)


def _fold(
    config: FinetuneConfig,
    parts: Split,
    labels: LabelledSet,
    run_dir: Path,
    resume: str,
    accelerator: Accelerator,
) -> None:
    found = begin(config, run_dir, resume, accelerator)
    if found is not None and (run_dir / DONE).exists():
        steps = config.train.epochs * steps_per_epoch(len(parts.train), config.data.batch_per_step)
        if (checkpoint.step_of(found) or 0) >= min(steps, config.train.max_steps or steps):
            samples = labels.corpus.fingerprint()
            checkpoint.refuse_other_samples(steps, checkpoint.extra_of(found), samples)
            return
    if found is None and accelerator.is_main_process:
        forget_predictions(run_dir)  # what a run left that never had a checkpoint
    rank, world = accelerator.process_index, accelerator.num_processes
    torch.manual_seed(config.seed + rank)  # drop path and the erasing noise; a checkpoint keeps the state
    task = ActionUnitTask(config, labels, parts)
    loader = _training_loader(config, labels, parts, rank, world)
    ordered = _evaluation_loader(config, labels, parts, rank, world)
    trainer = Trainer(config, run_dir, task, accelerator, labels.corpus.fingerprint())
    look = Predictions(ordered, labels, parts, config, run_dir, drawn=is_drawn(labels.corpus))
    if accelerator.is_main_process:
        print(f"fold {config.data.fold}, seed {config.seed}: {look.about}", flush=True)
    try:
        train(trainer, loader, look, found, task.loaded)
    finally:
        ordered.close()
        accelerator.free_memory()
    if accelerator.is_main_process:
        result = evaluate_fold(run_dir)
        _write_final(config, labels, parts, run_dir, result, trainer)
        write_result(result, run_dir / DONE)
    accelerator.wait_for_everyone()


def training_parts(config: FinetuneConfig, accelerator: Accelerator) -> tuple[ActionUnitTask, Loader]:
    """Task and loader of one fold, as training has them.

    Raises:
        UserError: as `finetune`.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    labels = open_labels(config, benchmark(config.data.dataset), rank, world)
    parts = _split(config, labels)
    return ActionUnitTask(config, labels, parts), _training_loader(config, labels, parts, rank, world)


def _write_final(
    config: FinetuneConfig,
    labels: LabelledSet,
    parts: Split,
    run_dir: Path,
    result: FoldResult,
    trainer: Trainer,
) -> None:
    """The model of the epoch that validation subjects chose, else of the last one."""
    columns = choices(result)
    best = result.selected and weights_path(run_dir, result.selected.epoch)
    chosen = "selected" if best and best.is_file() else "last"
    column = columns[chosen]
    assert column is not None
    last = run_dir / checkpoint.FOLDER / checkpoint.step_name(trainer.progress.step) / MODEL_FILE
    bench = labels.benchmark
    write_final(
        run_dir / FINAL,
        best if best and chosen == "selected" else last,
        {
            "outputs": tuple(f"AU{au}" for au in labels.aus),
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
            "train_subjects": tuple(bench.subjects[i] for i in np.unique(labels.subject[parts.train])),
            "config": config,
            "benchmark": bench,
            "crops": crops(labels.corpus),
        },
    )


def _training_loader(
    config: FinetuneConfig, labels: LabelledSet, parts: Split, rank: int, world: int
) -> Loader:
    data = config.data
    return make_loader(
        labels.corpus,
        rows=labels.rows[parts.train],
        batch_per_step=data.batch_per_step,
        seed=config.seed,
        rank=rank,
        world=world,
        accumulate=config.train.accumulate,
        workers=data.workers,
        prefetch=data.prefetch,
        image_px=config.model.image_px,
        augment="rrc-flip",
        rrc_scale=data.rrc_scale,
        randaugment=data.randaugment,
        max_bad=0.0,
        cache=data.cache,
    )


def _evaluation_loader(
    config: FinetuneConfig, labels: LabelledSet, parts: Split, rank: int, world: int
) -> Loader:
    data = config.data
    return ordered_loader(
        labels.corpus,
        labels.rows[sorted([*parts.validation.tolist(), *parts.test.tolist()])],
        batch_per_step=max(data.batch_per_step, world) * 4,
        image_px=config.model.image_px,
        rank=rank,
        world=world,
        workers=data.workers,
        prefetch=data.prefetch,
        cache=data.cache,
    )
