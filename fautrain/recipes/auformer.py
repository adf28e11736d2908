"""AUFormer: a frozen ViT, experts for every action unit in it, and its own losses."""

from __future__ import annotations

from fautrain.config import (
    ActionUnitModelConfig,
    FinetuneConfig,
    LabelledData,
    LogConfig,
    OptimConfig,
    OutputLossConfig,
    TrainConfig,
)
from fautrain.recipes import recipe

MARGINS = {"bp4d": 0.10, "disfa": 0.15, "casme2": 0.30}
"""Truncation margin m of the paper's data sets (section 4.1)."""


@recipe("auformer", task="au")
def auformer(dataset: str) -> FinetuneConfig:
    """AUFormer as its paper says; no code of it was ever released.

    From the paper: ViT-B/16, all of its weights frozen; beside the attention and the MLP of every block an
    expert for each AU (4 channels, dilations 1, 3, 5, neighbourhood 3 x 3), which takes the normed tokens and
    the knowledge of its AU from the group below; the mean over the experts is added to the residual. The
    class token, after the encoder's own norm, gives the AUs; a linear head on each expert of the last group
    gives them again. Loss 1 : 1 : 1 of MDWA (margin 0.10 on BP4D, 0.15 on DISFA, 0.30 on CASME II, 0.10
    elsewhere; exponents 1 to 2), WDI (epsilon 1) and the experts' MDWA; rates of the training fold. For N AUs
    7,620 x 24 N + 1,538 N parameters learn: 2.21 M of 12.
    Its training is in an appendix that we do not have: optimiser and schedule are Convpass's, on which the
    paper builds (AdamW, lr 1e-3, weight decay 1e-4, drop path 0.1, a tenth of the epochs warms up and a
    cosine ends at 1e-5), batch 64 and 20 epochs are ME-GraphAU's, and so is the size of the crop (224 of 256
    px) with a flip. First weights of experts are Convpass's: nothing is added at first.
    Read from its figure: experts see the tokens after the layer norm; GELU after the first and before the
    last map. Ours: at the border of the image the neighbourhood is what there is of it.
    Give a supervised ViT with --init, such as hub:timm/vit_base_patch16_224.augreg_in1k (and its
    normalisation: --set data.mean=0.5,0.5,0.5 --set data.std=0.5,0.5,0.5), or a MAE.
    """
    return FinetuneConfig(
        name="auformer",
        about="AUFormer as its paper says: a frozen ViT-B, experts for each AU in every block, MDWA and WDI.",
        model=ActionUnitModelConfig(
            size="base",
            pool="class",
            frozen=True,
            adapter="moke",
            drop_path=0.1,
            initial="trunc_normal",
        ),
        data=LabelledData(
            dataset=dataset, batch_per_step=64, rrc_scale=(0.76, 1.0), randaugment=None, erasing=0.0
        ),
        loss=OutputLossConfig(kind="mdwa", plus=("dice",), margin=MARGINS.get(dataset, 0.10)),
        optim=OptimConfig(
            lr=1e-3,
            min_lr=1e-5,
            weight_decay=1e-4,
            betas=(0.9, 0.999),
            warmup_epochs=2,
        ),
        train=TrainConfig(epochs=20),
        log=LogConfig(grid_every_epochs=None),
    )
