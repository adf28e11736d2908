"""Gradient reversal: what it does alone, and that the whole model trains by Eq. 3 and 4 of FMAE-IAT."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from reversal_ddp import CASES, Step, case_name, drawn_batch, drawn_step
from safetensors.torch import load_file
from torch import Tensor

from fautrain.losses.au import au_loss
from fautrain.losses.identity import identity_loss
from fautrain.models.reversal import reverse_gradient, strength

torch.set_num_threads(1)


def test_forward_is_the_identity_and_backward_the_negative_multiple() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    gradient = torch.randn(3, 4)
    out = reverse_gradient(x, 0.3)
    assert torch.equal(out, x)
    out.backward(gradient)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, -0.3 * gradient, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("lam", [2.0, torch.tensor(2.0), torch.tensor(2.0, dtype=torch.float64)])
def test_types_of_values_and_gradients_stay(dtype: torch.dtype, lam: Tensor | float) -> None:
    x = torch.randn(5, dtype=dtype, requires_grad=True)
    out = reverse_gradient(x, lam)
    out.backward(torch.ones(5, dtype=dtype))
    assert out.dtype == dtype
    assert x.grad is not None and x.grad.dtype == dtype
    assert x.grad.eq(-2).all()


def test_a_number_keeps_its_double_precision() -> None:
    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    reverse_gradient(x, 0.1).backward()
    assert x.grad is not None and x.grad.item() == -0.1


def test_second_derivative_passes_the_factor_on() -> None:
    x = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(reverse_gradient(x**3, 2.0), x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)
    assert (first.item(), second.item()) == (-54.0, -36.0)  # -2 * 3 x^2, -2 * 6 x


def test_compiled_once_for_every_strength() -> None:
    """In one graph with what is around it; a tensor's value is no constant of that graph."""
    compilations = 0

    def count(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., object]:
        nonlocal compilations
        compilations += 1
        return graph.forward

    def loss(x: Tensor, lam: Tensor) -> Tensor:
        return (reverse_gradient(x.square(), lam) * x).sum()

    compiled = torch.compile(loss, fullgraph=True, backend=count)
    for lam in (torch.tensor(0.0), torch.tensor(0.5), torch.tensor(2.0)):
        x = torch.tensor([1.5, -2.0], requires_grad=True)
        compiled(x, lam).backward()
        assert x.grad is not None
        # By the product rule: x^2 from the second factor, -lam * 2 x * x through the reversal.
        torch.testing.assert_close(x.grad, (1 - 2 * lam) * x.detach() ** 2)
    assert compilations == 1


def test_ahead_of_time_compiled_with_autocast() -> None:
    layer = torch.nn.Linear(3, 2, bias=False)

    def loss(x: Tensor, lam: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return layer(reverse_gradient(x, lam)).float().sum()

    x = torch.randn(4, 3, requires_grad=True)
    torch.compile(loss, fullgraph=True, backend="aot_eager")(x, torch.tensor(0.5)).backward()
    expected = -0.5 * layer.weight.detach().bfloat16().float().sum(0)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, expected.expand(4, 3), rtol=1e-2, atol=1e-3)


def test_schedules() -> None:
    assert [strength("constant", 2.0, p) for p in (0.0, 0.4, 1.0)] == [2.0, 2.0, 2.0]
    ramp = [strength("ramp", 2.0, p / 10) for p in range(11)]
    assert ramp[0] == 0.0
    assert ramp == sorted(ramp)
    # 2 / (1 + e^-x) - 1 is tanh(x / 2).
    assert ramp == pytest.approx([2.0 * math.tanh(p / 2) for p in range(11)])
    assert strength("ramp", 0.0, 0.7) == 0.0


def test_a_linear_case_by_hand() -> None:
    """f = w x with w = 0.5, x = 2; AU logit f of a present AU; identity logits (f, -f), subject 0."""
    w = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    v = torch.tensor([1.0, -1.0], dtype=torch.float64, requires_grad=True)
    feature = (w * 2.0).reshape(1, 1)
    logits = reverse_gradient(feature, 0.5) * v
    loss = au_loss(feature, torch.ones(1, 1)) + identity_loss(logits, torch.tensor([0]), "ce")
    loss.backward()
    sigmoid, softmax = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))
    by_feature = sigmoid - 1, (softmax - 1) * 1 + (1 - softmax) * -1
    assert w.grad is not None and v.grad is not None
    assert w.grad.item() == pytest.approx(2 * (by_feature[0] - 0.5 * by_feature[1]), abs=1e-15)
    assert w.grad.item() == pytest.approx(-0.29948, abs=1e-5)
    assert v.grad.tolist() == pytest.approx([softmax - 1, 1 - softmax], abs=1e-15)


def gradients(step: Step, lam: float, seed: int = 0) -> dict[str, Tensor]:
    """Of the one backward pass that training does."""
    step.zero_grad()
    torch.manual_seed(seed)
    step(*drawn_batch(), torch.tensor(lam)).backward()
    return {name: p.grad.clone() for name, p in step.model.named_parameters() if p.grad is not None}


def separate(step: Step, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradients of the AU loss and of the identity loss, each alone, with no reversal anywhere."""
    images, targets, identities = drawn_batch()
    names, parameters = zip(*step.model.named_parameters(), strict=True)
    torch.manual_seed(seed)
    features = step.model.features(images)
    head = step.model.ID_head
    assert head is not None
    losses = au_loss(step.model.head(features), targets), identity_loss(head(features), identities, step.kind)
    both = [
        torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        for loss in losses
    ]
    return dict(zip(names, both[0], strict=True)), dict(zip(names, both[1], strict=True))


def assert_eq_3_and_4(
    found: dict[str, Tensor], au: dict[str, Tensor], identity: dict[str, Tensor], lam: float
) -> None:
    assert found.keys() == au.keys()
    for name, gradient in found.items():
        if name.startswith("ID_head"):
            expected = identity[name]
        elif name.startswith("head"):
            expected = au[name]
        else:
            expected = au[name] - lam * identity[name]
            assert lam == 0 or (lam * identity[name]).abs().max() > 1e-8, name
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("drop_path", [0.0, 0.5])
@pytest.mark.parametrize(("layers", "kind", "lam"), CASES)
def test_the_gradient_is_exact(layers: int, kind: str, lam: float, drop_path: float) -> None:
    step = drawn_step(layers, kind, drop_path=drop_path)
    assert_eq_3_and_4(gradients(step, lam), *separate(step), lam)


@pytest.mark.parametrize("kind", ["bce", "ce"])
def test_the_gradient_by_finite_differences(kind: str) -> None:
    """Backbone: slope of L_au - lambda L_id (Eq. 3). Identity head: slope of L_id (Eq. 4)."""
    step, lam, width = drawn_step(2, kind), 0.5, 1e-5
    found = gradients(step, lam)
    images, targets, identities = drawn_batch()

    @torch.no_grad()
    def objective(sign: float) -> float:
        out = step.model(images, 0.0)
        assert out.identity is not None
        return float(au_loss(out.logits, targets) + sign * identity_loss(out.identity, identities, step.kind))

    for name, sign in (
        ("blocks.0.mlp.fc1.weight", -lam),
        ("pos_embed", -lam),
        ("fc_norm.weight", -lam),
        ("ID_head.0.weight", 1.0),
        ("ID_head.2.bias", 1.0),
        ("head.weight", 1.0),
    ):
        parameter = step.model.get_parameter(name).detach().view(-1)
        place = int(found[name].abs().argmax())
        sides: list[float] = []
        for move in (width, -2 * width):
            parameter[place] += move
            sides.append(objective(sign))
        parameter[place] += width
        slope = (sides[0] - sides[1]) / (2 * width)
        assert found[name].view(-1)[place].item() == pytest.approx(slope, rel=1e-5, abs=1e-9), name


@pytest.fixture(scope="module")
def distributed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Gradients of all cases, of two processes with two accumulated parts each."""
    out = tmp_path_factory.mktemp("ddp") / "gradients.safetensors"
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    worker = Path(__file__).with_name("reversal_ddp.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*line, str(worker), str(out)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(out)


@pytest.mark.parametrize(("layers", "kind", "lam"), CASES)
def test_the_gradient_is_exact_through_ddp_and_accumulation(
    distributed: dict[str, Tensor], layers: int, kind: str, lam: float
) -> None:
    prefix = case_name(layers, kind, lam)
    found = {n.removeprefix(prefix): t for n, t in distributed.items() if n.startswith(prefix)}
    assert_eq_3_and_4(found, *separate(drawn_step(layers, kind)), lam)
