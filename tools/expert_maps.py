"""Where AUFormer's experts look: Grad-CAM of each action unit's own expert, as in Figure 6 of its paper.

    python tools/expert_maps.py RUN/seed-0/fold-1 [--shards build/disfa] --out maps.png

A row for each AU, of the test frames that show it those where it is most certain, from different people where
there are as many. A frame is drawn beside itself with the map over it: red is where the expert's knowledge
speaks for its AU. The class token of the last group sees no patch, so the map is that of the group before the
last attention (beside the MLP of the last block but one), by the gradient of the expert's own head, which
the patches reach through the frozen attention.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facecorpus.errors import UserError
from fautrain.config import LabelledConfig
from fautrain.data import LoaderState, Normalise, ordered_loader
from fautrain.data.labels import LabelledSet
from fautrain.models.adapters.moke import ExpertGroup
from fautrain.models.heads import ActionUnitModel
from fautrain.probe.canvas import canvas
from fautrain.runs.inference import checkpoints, load_trained, predictions
from fautrain.task import loader_options
from fautrain.tasks.labelled import fold_of, open_labels


def expert_maps(model: ActionUnitModel, images: Tensor, expert: int) -> NDArray[np.float32]:
    """Grad-CAM (N, H, W) of one expert in [0, 1] for normalised images (N, 3, H, W).

    Selvaraju et al. 2017, Eq. 1 and 2: its d channels, weighted by their mean gradient over the patches;
    what speaks against the AU is cut off.
    """
    if len(model.blocks) < 2:
        raise UserError("a map needs two blocks: the experts below the last attention; use a deeper model")
    group = model.blocks[-2].mlp_adapter
    if not (isinstance(group, ExpertGroup) and model.auxiliary_head is not None):
        raise UserError("the model has no experts with heads of their own; give a run of recipe auformer")
    known: list[Tensor] = []
    hook = group.register_forward_hook(lambda _m, _i, out: known.append(out[1]))
    try:
        own = model(images).auxiliary[:, expert].sum()
    finally:
        hook.remove()
    (gradient,) = torch.autograd.grad(own, known[0])
    mine = slice(expert * group.channels, (expert + 1) * group.channels)
    weights = gradient[:, 1:, mine].mean(dim=1, keepdim=True)
    found = (weights * known[0][:, 1:, mine]).sum(dim=2).clamp(min=0)
    found = found / found.amax(dim=1, keepdim=True).clamp(min=1e-12)
    grid = found.detach().unflatten(1, (1, model.grid, model.grid)).float()
    return functional.interpolate(grid, images.shape[-2:], mode="bilinear")[:, 0].numpy()


def most_certain(
    labels: LabelledSet, test: NDArray[np.int64], values: NDArray[Any], output: int, count: int
) -> list[int]:
    """Places in `test` of frames that show an output, best first, another subject each while there are."""
    order = [int(at) for at in np.argsort(-values[:, output]) if labels.targets[test[at], output] == 1]
    seen: set[int] = set()
    firsts = [at for at in order if (who := int(labels.subject[test[at]])) not in seen and not seen.add(who)]
    return [*firsts, *(at for at in order if at not in firsts)][:count]


def pictures(config: LabelledConfig, labels: LabelledSet, chosen: NDArray[np.int64]) -> Tensor:
    """uint8 (n, 3, H, W) of frames, in their order."""
    rows = labels.rows[chosen]
    unique, back = np.unique(rows, return_inverse=True)
    loader = ordered_loader(labels.corpus, unique, loader_options(config, 0, 1))
    try:
        found = torch.cat([batch.images.clone() for batch in loader.epoch(LoaderState())])
    finally:
        loader.close()
    return found[torch.from_numpy(back)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("where", type=Path, help="the run of a fold, a checkpoint or a final model")
    parser.add_argument("--shards", default="", help="those it was trained on, if not given")
    parser.add_argument("--frames", type=int, default=4, help="of each action unit")
    parser.add_argument("--out", type=Path, default=Path("expert-maps.png"))
    options = parser.parse_args()
    trained = load_trained(checkpoints(options.where)[-1])
    model, config = trained.model.cpu(), trained.config
    assert isinstance(model, ActionUnitModel)
    if options.shards:
        config = replace(config, data=replace(config.data, shards=options.shards))
    labels = open_labels(config, trained.benchmark, 0, 1)
    test = fold_of(config, labels).parts.test
    values = predictions(trained, labels, test)
    normalised = Normalise(config.data.mean, config.data.std)
    names = labels.outputs
    with canvas(options.out, 110 * 2 * options.frames + 60, 110 * len(names)) as figure:
        axes = figure.subplots(len(names), 2 * options.frames, squeeze=False)
        for output, row in enumerate(axes):
            chosen = most_certain(labels, test, values, output, options.frames)
            shown = pictures(config, labels, test[chosen])
            maps = expert_maps(model, normalised(shown), output)
            for place, (ax, face) in enumerate(zip(row.reshape(-1, 2), shown, strict=False)):
                for part in ax:
                    part.imshow(face.permute(1, 2, 0).numpy())
                ax[1].imshow(maps[place], cmap="jet", alpha=0.45, vmin=0, vmax=1)
            row[0].set_ylabel(names[output])
        for ax in axes.flat:
            ax.set(xticks=[], yticks=[])
            ax.set_frame_on(False)
    print(f"{options.out}: experts of {', '.join(names)}")


if __name__ == "__main__":
    main()
