"""Maps of experts: by hand, and where the label is drawn."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from test_models_moke import auformer, images
from torch import Tensor, nn

from facecorpus.errors import UserError
from fautrain.models.adapters.moke import ExpertGroup

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = Path(__file__).parent.parent / "tools" / "expert_maps.py"
    spec = importlib.util.spec_from_file_location("expert_maps", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_map_is_grad_cam_of_the_experts_channels(tool: ModuleType) -> None:
    """By differences: a channel is raised a little on all patches and the expert's own logit followed, which
    gives the mean of its gradient over them."""
    model = auformer().double()
    batch, expert, step = images(1), 1, 1e-5
    group = model.blocks[-2].mlp_adapter
    assert isinstance(group, ExpertGroup)
    change, known = torch.zeros(12, dtype=torch.float64), torch.zeros(25, 12, dtype=torch.float64)

    def raised(module: nn.Module, inputs: object, out: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        _, hidden, up, bias = out
        known.copy_(hidden[0, 1:].detach())
        hidden = torch.cat([hidden[:, :1], hidden[:, 1:] + change], dim=1)
        mean = up.transpose(0, 1).flatten(1) / group.experts
        return nn.functional.linear(hidden, mean, bias.mean(dim=0)), hidden, up, bias

    def logit(channel: int, by: float) -> float:
        change.zero_()[channel] = by
        with torch.no_grad():
            return model(batch).auxiliary[0, expert].item()

    hook = group.register_forward_hook(raised)
    slopes = [(logit(at, step) - logit(at, -step)) / (2 * step) / 25 for at in range(4, 8)]
    logit(4, 0.0)
    hook.remove()
    cam = (known[:, 4:8] @ torch.tensor(slopes, dtype=torch.float64)).clamp(min=0)
    expected = (cam / cam.max()).view(1, 1, 5, 5).float()
    expected = nn.functional.interpolate(expected, (80, 80), mode="bilinear")[0, 0]
    found = torch.from_numpy(tool.expert_maps(model, batch, expert)[0])
    assert cam.max() > 0 and found.shape == (80, 80)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_model_without_experts_has_no_map(tool: ModuleType) -> None:
    with pytest.raises(UserError, match="no experts with heads of their own; give a run of recipe auformer"):
        tool.expert_maps(auformer(auxiliary=False), images(1), 0)
