"""Adapters: small parts that learn inside an encoder that may stay frozen; one file each, by name.

`@adapter("name")` registers a function `(model, config)` that puts parts into the places that every `Block`
has: `attn_adapter` and `mlp_adapter`, modules whose output is added to that of the attention or the MLP from
the same normed tokens (those that are `Inheriting` also learn from each other), and `prompts`, further
tokens. It may also put heads of its own into `ActionUnitModel.auxiliary_head`. `model.adapter=name` chooses
it, after the weights are loaded; `model.frozen` turns off the gradients of all that was there before.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from facecorpus.errors import UserError
from facecorpus.plugins import Registry
from fautrain.config import ActionUnitModelConfig, ModelConfig
from fautrain.models.heads import ActionUnitModel
from fautrain.models.vit import Trunk

ADAPTERS: Registry[Callable[[Trunk, ModelConfig], None]] = Registry(
    "model.adapter={}: there is no such adapter", __name__
)
"""What `model.adapter` knows."""
adapter = ADAPTERS.register


def put_beside(model: Trunk, make: Callable[[], nn.Module]) -> None:
    """Put a part beside the attention and one beside the MLP of every block, from the bottom up."""
    for block in model.blocks:
        block.attn_adapter, block.mlp_adapter = make(), make()


def only_whole_images(
    model: Trunk, config: ModelConfig, name: str
) -> tuple[ActionUnitModel, ActionUnitModelConfig]:
    """The model and its configuration, for an adapter that sees patches as an image.

    Raises:
        UserError: the model does not see all patches of an image.
    """
    if not (isinstance(model, ActionUnitModel) and isinstance(config, ActionUnitModelConfig)):
        raise UserError(
            f"model.adapter={name} works on whole images, which pretraining does not see; choose another one"
        )
    return model, config


def image_of(patches: Tensor, grid: int) -> Tensor:
    """Patch tokens (N, grid * grid, C), row by row, as images (N, C, grid, grid)."""
    return patches.transpose(1, 2).unflatten(2, (grid, grid))


def patches_of(image: Tensor) -> Tensor:
    """The inverse of `image_of`."""
    return image.flatten(2).transpose(1, 2)
