"""The final model of a fold: a small folder with everything that prediction needs, and nothing else.

    FOLD/final/model.safetensors   weights, without optimizer and identity head
    FOLD/final/model.json          `Card`: outputs, normalisation, threshold, protocol, how crops were cut

It is read with neither a corpus nor a benchmark's file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file

from facecorpus.errors import UserError
from facecorpus.typed import build, to_plain
from fautrain.checkpoint.disk import explained, forget_torn, write_tensors
from fautrain.checkpoint.environment import versions
from fautrain.config import LabelledConfig
from fautrain.config import from_plain as configured
from fautrain.data.benchmark import Benchmark, from_plain
from fautrain.evaluation.result import FoldResult
from fautrain.files import MODEL_FILE, json_bytes, publish, read_json, sha256
from fautrain.models.predictor import Predictor
from fautrain.models.weights import CARD
from fautrain.tasks.labelled import bytes_of, trained_model

FORMAT: Final = 2
"""Version of `Card`."""
FOLDER: Final = "final"


@dataclass(frozen=True)
class Choice:
    """An epoch and a threshold, and how they were come by."""

    epoch: int
    threshold: float | None
    """A probability at or above it counts as present; null where the kind of target has no threshold."""
    mean: float
    """Mean of the headline measure on the test subjects, as a fraction."""


@dataclass(frozen=True)
class Card:
    """What is known of a final model: `model.json`."""

    format: int
    kind: str
    """What is predicted (`fautrain.targets`), and so what its logits mean: `occurrence`."""
    outputs: tuple[str, ...]
    """What the model's outputs are, in their order: `AU1`, ...."""
    image_px: int
    """Side of the square picture."""
    mean: tuple[float, float, float]
    """RGB mean that is subtracted, on the scale 0 to 1."""
    std: tuple[float, float, float]
    """RGB standard deviation that is divided by, on the scale 0 to 1."""
    precision: str
    """`bf16` or `fp32`: what it was evaluated in."""
    epoch: int
    """Epochs of training behind the weights."""
    chosen: str
    """`selected`: epoch and threshold do best on training subjects kept from training; `last`: the last epoch
    at 0.5, where there were none or the weights of the selected epoch were gone."""
    threshold: float | None
    """To use for all outputs; null where the kind of target has none."""
    last: Choice
    selected: Choice | None
    published: Choice
    """The best on the test subjects themselves: for comparison with papers, not for use."""
    drawn: bool
    """Whether the faces were drawn ones."""
    train_frames: int
    train_subjects: tuple[str, ...]
    """Empty where nobody knows who is shown."""
    config: LabelledConfig
    """The run's settings."""
    benchmark: Benchmark
    """The protocol: outputs, how labels were read, folds."""
    crops: Any
    """How the crops were cut and of what, sources and their terms (`facecorpus.schema.CROPS`); null where the
    shards do not say."""
    versions: Any
    """Of Python and the packages."""
    weights_sha256: str


class FinalModel(NamedTuple):
    """A model in evaluation mode on the CPU, and what is known of it."""

    model: Predictor
    card: Card


def is_final(folder: Path) -> bool:
    """Whether a folder holds a final model."""
    return (folder / CARD).is_file()


def load_final(folder: Path) -> FinalModel:
    """The final model in a folder. Its predictions are those of the run, bit for bit on the same machine.

    Raises:
        UserError: there is none, or it is damaged.
    """
    remedy = "copy the final model again from its run"
    if not is_final(folder):
        raise UserError(
            f"{folder} holds no final model (it has no {CARD}); give the folder {FOLDER} of a fold"
        )
    data = read_json(folder / CARD, remedy)
    if data.get("format") != FORMAT:
        raise UserError(
            f"{folder / CARD} is of format {data.get('format')!r}, this version of fautrain reads {FORMAT}; "
            "use the version that wrote it"
        )
    try:
        parts = {"benchmark": from_plain(data["benchmark"]), "config": configured(data["config"])}
        card = build(Card, {**data, **parts})
        outputs = card.benchmark.target.only(card.config.data.outputs, card.benchmark.name).outputs
        config = replace(card.config, model=replace(card.config.model, image_px=card.image_px))
        least = bytes_of(config, len(outputs))
    except (UserError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise UserError(f"{folder / CARD} is damaged ({str(error)[:300]}); {remedy}") from None
    weights = folder / MODEL_FILE
    try:
        found = sha256(weights)
    except OSError as error:
        raise UserError(f"{weights} cannot be read ({error.strerror}); {remedy}") from None
    if found != card.weights_sha256:
        raise UserError(f"{weights} is altered: its SHA-256 is not the one in {CARD}; {remedy}")
    if (card.kind, card.outputs) != (card.benchmark.kind, outputs) or least > weights.stat().st_size:
        raise UserError(
            f"{folder / CARD} is damaged (it describes another model than {MODEL_FILE}); {remedy}"
        )
    return FinalModel(trained_model(config, len(outputs), weights), card)


def write_final(folder: Path, weights: Path, card: dict[str, Any]) -> None:
    """Put a final model in `folder`: the weights, then the card, which makes it one.

    Args:
        weights: a `.safetensors` file, of a whole checkpoint or of `fautrain.tasks.kept`. card: fields of
            `Card` but for `format`, `versions` and `weights_sha256`.

    Raises:
        UserError: it cannot be written.
    """
    try:
        tensors = {n: t for n, t in load_file(weights).items() if not n.startswith("ID_head.")}
        forget_torn(folder)
        publish(folder / MODEL_FILE, lambda aside: write_tensors(aside, tensors))
    except SafetensorError as error:
        raise explained(error, folder / MODEL_FILE) from error
    known = {"format": FORMAT, "versions": versions()}
    whole = Card(**known, weights_sha256=sha256(folder / MODEL_FILE), **card)
    publish(folder / CARD, json_bytes(to_plain(whole)))


def choices(result: FoldResult) -> dict[str, Choice | None]:
    """The three columns of a fold as fields of `Card`."""
    columns = {"last": result.last, "selected": result.selected, "published": result.published}
    return {
        name: Choice(column.epoch, column.choice, column.mean) if column else None
        for name, column in columns.items()
    }
