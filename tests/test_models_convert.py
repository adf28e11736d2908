"""Published weights: MAE's, FMAE's and timm's layouts load; everything else is refused in one sentence."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fautrain.errors import UserError
from fautrain.models.convert import LoadReport, interpolate_positions, load_encoder
from fautrain.models.mae import MaskedAutoencoder
from fautrain.models.vit import SIZES, Size, VisionTransformer, size_of
from fautrain.models.weights import find_weights

torch.set_num_threads(1)
SMALL = Size("small-for-tests", 24, 2, 4)


def encoder(seed: int = 0, **options: Any) -> VisionTransformer:
    torch.manual_seed(seed)
    return VisionTransformer(SMALL, **{"image_px": 16, "patch_px": 4, **options})


def autoencoder(seed: int = 0, **options: Any) -> MaskedAutoencoder:
    torch.manual_seed(seed)
    options = {"image_px": 16, "patch_px": 4, "decoder_width": 8, "decoder_heads": 2, **options}
    return MaskedAutoencoder(SMALL, decoder_depth=1, **options)


def same_encoder(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return all(torch.equal(x[k], y[k]) for k in encoder().state_dict())


def test_timms_vit_loads_strictly_and_gives_its_features(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model("vit_base_patch16_224", pretrained=False).eval()
    torch.save(theirs.state_dict(), tmp_path / "vit.pth")
    ours = VisionTransformer(size_of("base")).eval()
    report = load_encoder(ours, tmp_path / "vit.pth")
    assert report.missing == ()
    assert report.unexpected == ("head.weight", "head.bias")
    assert set(report.loaded) == set(ours.state_dict())
    images = torch.randn(1, 3, 224, 224)
    before_norm: list[Tensor] = []
    theirs.norm.register_forward_pre_hook(lambda _module, inputs: before_norm.append(inputs[0]))
    with torch.no_grad():
        features = theirs.forward_features(images)
        torch.testing.assert_close(ours(images), features, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.encode(images, norm=False), before_norm[0], atol=1e-5, rtol=0)


def test_timms_positions_are_interpolated_as_timm_does() -> None:
    layers = pytest.importorskip("timm.layers")
    positions = torch.randn(1, 197, 24)
    for grid in (24, 7):
        expected = layers.resample_abs_pos_embed(positions, new_size=[grid, grid])
        torch.testing.assert_close(interpolate_positions(positions, grid), expected)
    assert interpolate_positions(positions, 14) is positions


def test_a_files_decoder_and_heads_stay_out(tmp_path: Path) -> None:
    published = autoencoder(1)
    torch.save(
        {"model": {**published.state_dict(), "head.weight": torch.zeros(12, 24)}}, tmp_path / "mae.pth"
    )
    model = autoencoder(2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    report = load_encoder(model, tmp_path / "mae.pth")
    assert same_encoder(model, published)
    own_decoder = {k for k in before if "decoder" in k or k == "mask_token"}
    assert all(torch.equal(model.state_dict()[k], before[k]) for k in own_decoder)
    assert set(report.unexpected) == own_decoder | {"head.weight"}
    assert report.missing == ()
    assert "mask_token" in str(report)
    assert "decoder_blocks.*" in str(report)


def test_fmaes_training_file_with_its_command_line(tmp_path: Path) -> None:
    """FMAE pickles `args` with paths in it, beside optimizer and scaler."""
    published = autoencoder(1)
    arguments = argparse.Namespace(blr=1.5e-4, output_dir=tmp_path / "out", resume="")
    content = {"model": published.state_dict(), "optimizer": {"state": {}}, "epoch": 49, "args": arguments}
    torch.save(content, tmp_path / "FMAE_ViT.pth")
    model = encoder(2)
    load_encoder(model, tmp_path / "FMAE_ViT.pth")
    assert same_encoder(model, published)


def test_fine_tuned_file_without_norm_reports_it_missing(tmp_path: Path) -> None:
    tensors = encoder(1).state_dict()
    tensors["fc_norm.weight"] = tensors.pop("norm.weight")
    tensors["fc_norm.bias"] = tensors.pop("norm.bias")
    torch.save({"model": tensors}, tmp_path / "tuned.pth")
    report = load_encoder(encoder(2), tmp_path / "tuned.pth")
    assert report.missing == ("norm.weight", "norm.bias")
    assert report.unexpected == ("fc_norm.weight", "fc_norm.bias")


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_safetensors_with_and_without_prefix(tmp_path: Path, prefix: str) -> None:
    published = encoder(1)
    save_file({f"{prefix}{k}": v for k, v in published.state_dict().items()}, tmp_path / "vit.safetensors")
    model = encoder(2)
    report = load_encoder(model, tmp_path / "vit.safetensors")
    assert same_encoder(model, published)
    assert (report.missing, report.unexpected, report.interpolated) == ((), (), None)


def test_positions_of_another_image_size(tmp_path: Path) -> None:
    published = encoder(1, image_px=32)
    torch.save({"state_dict": published.state_dict()}, tmp_path / "big.pth")
    model = encoder(2)
    report = load_encoder(model, tmp_path / "big.pth")
    assert report.interpolated == "8x8 -> 4x4"
    assert model.pos_embed.shape == (1, 17, 24)
    assert not model.pos_embed.requires_grad
    torch.testing.assert_close(model.pos_embed[:, :1], published.pos_embed[:, :1])
    assert torch.equal(model.blocks[0].norm1.weight, published.blocks[0].norm1.weight)


def test_an_even_field_stays_even_when_interpolated() -> None:
    positions = torch.cat([torch.zeros(1, 1, 3), torch.tensor([1.0, 2.0, 3.0]).expand(1, 49, 3)], dim=1)
    resampled = interpolate_positions(positions, 14)
    assert resampled.shape == (1, 197, 3)
    torch.testing.assert_close(resampled[0, 1:], torch.tensor([1.0, 2.0, 3.0]).expand(196, 3))


class Runs:
    """A pickle that would run a command when read by `pickle.load`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save({"model": encoder().state_dict(), "args": Runs(marker)}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match=r"evil.pth holds the Python object posix.system.*safetensors"):
        load_encoder(encoder(), tmp_path / "evil.pth")
    assert not marker.exists()


def other_files(folder: Path) -> dict[str, str]:
    """Files that cannot be used, and what the sentence must say."""
    good = encoder().state_dict()
    torch.save({"model": VisionTransformer(SIZES["tiny"]).state_dict()}, folder / "tiny.pth")
    torch.save(VisionTransformer(Size("other", 40, 2, 4), 16, 4).state_dict(), folder / "width.pth")
    torch.save(VisionTransformer(Size("other", 24, 3, 4), 16, 4).state_dict(), folder / "depth.pth")
    torch.save(encoder(patch_px=8).state_dict(), folder / "patch.pth")
    torch.save({"model": {**good, "pos_embed": torch.zeros(1, 18, 24)}}, folder / "tokens.pth")
    torch.save({"model": {**good, "norm.weight": torch.zeros(25)}}, folder / "norm.pth")
    torch.save({"conv1.weight": torch.zeros(3, 3, 7, 7)}, folder / "resnet.pth")
    torch.save({"epoch": 3}, folder / "empty.pth")
    torch.save([1, 2], folder / "list.pth")
    torch.save(good, folder / "cut.pth")
    (folder / "cut.pth").write_bytes((folder / "cut.pth").read_bytes()[:5000])
    save_file(good, folder / "cut.safetensors")
    (folder / "cut.safetensors").write_bytes((folder / "cut.safetensors").read_bytes()[:-100])
    (folder / "words.pth").write_text("not found")
    (folder / "words.safetensors").write_text("not found")
    (folder / "none.pth").write_bytes(b"")
    (folder / "folder.pth").mkdir()
    return {
        "tiny.pth": "width 192 and depth 4.*set model.size to tiny",
        "width.pth": "width 40 and depth 2",
        "depth.pth": "depth 3",
        "patch.pth": "set model.patch_px to 8",
        "tokens.pth": "18 positions",
        "norm.pth": "norm.weight of shape",
        "resnet.pth": "no ViT encoder.*conv1",
        "empty.pth": "no tensors",
        "list.pth": "no tensors",
        "cut.pth": "cut short",
        "cut.safetensors": "cut short",
        "words.pth": "cut short",
        "words.safetensors": "cut short",
        "none.pth": "cut short",
        "folder.pth": "not a file.*no finished checkpoint",
        "absent.pth": "not a file",
    }


def test_what_cannot_be_used_is_refused_in_a_sentence(tmp_path: Path) -> None:
    model = encoder(5)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for name, words in other_files(tmp_path).items():
        with pytest.raises(UserError, match=words) as refusal:
            load_encoder(model, tmp_path / name)
        assert str(tmp_path / name) in str(refusal.value), name
        assert "\n" not in str(refusal.value), name
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_hub_names(tmp_path: Path) -> None:
    """A hub repository in the local cache is used without a network; one that is not there is refused."""
    pytest.importorskip("huggingface_hub")
    for name in ("hub:", "hub:owner", "hub:/repository"):
        with pytest.raises(UserError, match="hub:OWNER/REPOSITORY"):
            find_weights(name)
    snapshot = tmp_path / "hub" / "models--owner--vit" / "snapshots" / ("0" * 40)
    (snapshot / "sub").mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    (snapshot / "model.safetensors").write_bytes(b"a")
    (snapshot / "sub" / "vit.pth").write_bytes(b"b")
    program = (
        "from fautrain.errors import UserError\n"
        "from fautrain.models.weights import find_weights\n"
        "for name in ('hub:owner/vit', 'hub:owner/vit/sub/vit.pth', 'hub:owner/absent'):\n"
        "    try:\n"
        "        print(find_weights(name).read_text())\n"
        "    except UserError as error:\n"
        "        print(error)\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    *found, refusal = done.stdout.strip().splitlines()
    assert found == ["a", "b"]
    assert refusal.startswith("hub:owner/absent cannot be had")


def test_report_reads_as_a_line() -> None:
    report = LoadReport("f.pth", ("a",), ("norm.weight", "norm.bias"), ("head.weight",), "14x14 -> 7x7")
    expected = "f.pth: 1 tensors loaded; missing norm; unused head; positions interpolated 14x14 -> 7x7"
    assert str(report) == expected
