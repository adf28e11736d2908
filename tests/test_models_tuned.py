"""Weights of and for action-unit models: pretrained and fine-tuned files, folders of runs, whole models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from test_models_convert import SMALL, autoencoder

from facecorpus.errors import UserError
from fautrain.checkpoint import State, save
from fautrain.models.convert import load_encoder, load_whole
from fautrain.models.heads import ActionUnitModel
from fautrain.models.vit import Size

torch.set_num_threads(1)


def tuned(seed: int = 0, aus: int = 5, **options: Any) -> ActionUnitModel:
    """A fine-tuned model; its norm and heads differ from fresh ones."""
    torch.manual_seed(seed)
    options = {"image_px": 16, "patch_px": 4, "subjects": 7, **options}
    model = ActionUnitModel(options.pop("size", SMALL), aus, **options)
    torch.nn.init.normal_(model.fc_norm.weight)
    return model


def same_but(a: torch.nn.Module, b: torch.nn.Module, but: tuple[str, ...]) -> bool:
    """Whether all tensors of `a` are those of `b`, and those that begin with `but` are not."""
    x, y = a.state_dict(), b.state_dict()
    return all(torch.equal(x[k], y[k]) != k.startswith(but) for k in x)


def test_a_pretrained_file_starts_an_action_unit_model(tmp_path: Path) -> None:
    published = autoencoder(1)
    torch.save({"model": published.state_dict()}, tmp_path / "FMAE_ViT.pth")
    model = tuned(2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    report = load_encoder(model, tmp_path / "FMAE_ViT.pth")
    after = model.state_dict()
    stay = ("fc_norm.", "head.", "ID_head.")
    assert all(
        torch.equal(after[k], (before if k.startswith(stay) else published.state_dict())[k]) for k in after
    )
    assert report.missing == ("fc_norm.weight", "fc_norm.bias")
    assert {"norm.weight", "norm.bias", "mask_token"} <= set(report.unexpected)
    assert model.pos_embed.requires_grad


def test_a_fine_tuned_file_gives_its_norm_and_keeps_its_heads(tmp_path: Path) -> None:
    save_file(tuned(1).state_dict(), tmp_path / "tuned.safetensors")
    model = tuned(2, aus=8, subjects=3, identity_layers=2)
    report = load_encoder(model, tmp_path / "tuned.safetensors")
    assert torch.equal(model.fc_norm.weight, tuned(1).fc_norm.weight)
    assert torch.equal(model.blocks[1].mlp.fc1.weight, tuned(1).blocks[1].mlp.fc1.weight)
    assert report.missing == ()
    assert set(report.unexpected) == {"head.weight", "head.bias", "ID_head.weight", "ID_head.bias"}
    assert "unused" in str(report) and "ID_head" in str(report) and "missing" not in str(report)


def checkpoint(run: Path, step: int, model: torch.nn.Module, finished: bool = True) -> Path:
    """What training leaves of a step, as far as it matters here."""
    folder = run / "checkpoints" / f"step-{step:08d}"
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    if finished:
        (folder / "manifest.json").write_text("{}")
    return folder


def test_a_run_gives_its_newest_finished_checkpoint(tmp_path: Path) -> None:
    older = checkpoint(tmp_path, 99_999_999, tuned(1))
    newest = checkpoint(tmp_path, 100_000_000, tuned(2))
    checkpoint(tmp_path, 100_000_001, tuned(3), finished=False)
    (tmp_path / "checkpoints" / "abandoned-step-100000002").mkdir()
    (tmp_path / "checkpoints" / "step-best").mkdir()
    for where, seed in ((tmp_path, 2), (newest, 2), (older, 1)):
        model = tuned(5)
        report = load_encoder(model, where)
        assert same_but(model, tuned(seed), ("head.weight", "head.bias", "ID_head."))
        assert report.file.endswith("model.safetensors")
        assert load_whole(tuned(5), str(where)).missing == ()


def test_a_checkpoint_that_training_wrote(tmp_path: Path) -> None:
    """The names of files that are looked for are those that training gives them."""
    model = tuned(1)
    state = State(step=7, model=model.state_dict(), optimizer={}, loader={}, counters={}, config={})
    folder = save(tmp_path, state, keep=1)
    for where in (tmp_path, folder):
        loaded = tuned(2)
        load_whole(loaded, where)
        assert same_but(loaded, model, ("nothing",))


@pytest.mark.parametrize("make", ["empty", "unfinished", "finished without weights"])
def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path, make: str) -> None:
    if make == "unfinished":
        checkpoint(tmp_path, 1, tuned(), finished=False)
    if make == "finished without weights":
        (checkpoint(tmp_path, 1, tuned()) / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no finished checkpoint: give the folder of a run") as refusal:
        load_encoder(tuned(), tmp_path)
    assert str(tmp_path) in str(refusal.value)


def test_load_whole_gives_every_weight(tmp_path: Path) -> None:
    torch.save({"model": tuned(1).state_dict()}, tmp_path / "tuned.pth")
    model = tuned(2)
    report = load_whole(model, tmp_path / "tuned.pth")
    assert same_but(model, tuned(1), ("nothing",))
    assert (report.missing, report.unexpected, report.interpolated) == ((), (), None)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(model.eval()(images).logits, tuned(1).eval()(images).logits)


def test_detection_does_without_the_identity_head(tmp_path: Path) -> None:
    save_file(tuned(1).state_dict(), tmp_path / "tuned.safetensors")
    model = tuned(2, subjects=0)
    report = load_whole(model, tmp_path / "tuned.safetensors")
    assert torch.equal(model.head.weight, tuned(1).head.weight)
    assert set(report.unexpected) == {"ID_head.weight", "ID_head.bias"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"aus": 12}, "detects 5 action units, the model 12: choose the data set and the AUs"),
        ({"subjects": 41}, "tells 7 subjects apart, the model 41: choose"),
        ({"identity_layers": 2}, r"lacks ID_head\.\*"),
        ({"image_px": 32}, "images of 16 px, the model for 32: set model.image_px to 16"),
        ({"size": Size("other", 24, 3, 4)}, "width 24 and depth 2.*other"),
    ],
)
def test_what_is_not_the_whole_model_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    save_file(tuned(1).state_dict(), tmp_path / "tuned.safetensors")
    model = tuned(2, **options)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(UserError, match=words) as refusal:
        load_whole(model, tmp_path / "tuned.safetensors")
    assert str(tmp_path) in str(refusal.value) and "\n" not in str(refusal.value)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_pretrained_encoder_is_no_whole_model(tmp_path: Path) -> None:
    torch.save({"model": autoencoder(1).state_dict()}, tmp_path / "mae.pth")
    with pytest.raises(UserError, match="lacks fc_norm, head, ID_head, so it is not a whole trained model"):
        load_whole(tuned(), tmp_path / "mae.pth")
    torch.save({"model": {**tuned(1).state_dict(), "norm.weight": torch.ones(24)}}, tmp_path / "more.pth")
    with pytest.raises(UserError, match="has norm, which the model lacks"):
        load_whole(tuned(), tmp_path / "more.pth")
    # The first two of three layers have the names of two, and with 6 subjects their shapes.
    save_file(tuned(1, identity_layers=3).state_dict(), tmp_path / "three.safetensors")
    with pytest.raises(UserError, match=r"has ID_head\.\*, which the model lacks"):
        load_whole(tuned(subjects=6, identity_layers=2), tmp_path / "three.safetensors")
