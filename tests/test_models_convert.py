"""Published weights: MAE's, FMAE's and timm's layouts load; everything else is refused in one sentence."""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from facecorpus.errors import UserError
from fautrain.models.convert import LoadReport, interpolate_positions, load_encoder
from fautrain.models.mae import MaskedAutoencoder
from fautrain.models.vit import SIZES, Size, size_of
from fautrain.models.weights import find_weights
from tests.bare_encoder import VisionTransformer

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


def evil_pickles(folder: Path) -> dict[str, Path]:
    """Files that would run code if they were unpickled, as torch and as plain pickle write them."""
    marker, good = folder / "ran", encoder().state_dict()
    torch.save({"model": good, "args": Runs(marker)}, folder / "torch.pth")
    torch.save({"model": good, "args": Runs(marker)}, folder / "4.pth", pickle_protocol=4)
    torch.save(
        {"model": good, "args": Runs(marker)}, folder / "old.pth", _use_new_zipfile_serialization=False
    )
    for protocol in (0, 2, 4, 5):
        (folder / f"plain{protocol}.pth").write_bytes(pickle.dumps({"a": Runs(marker)}, protocol))
    (folder / "inst.pth").write_bytes(b"(S'true'\nios\nsystem\n.")
    # Broken off after the harm: unpickling would have run it.
    (folder / "cut.pth").write_bytes(pickle.dumps({"a": Runs(marker), "b": 0}, 4)[:-6])
    return {path.name: path for path in folder.glob("*.pth")}


def test_code_in_a_pickle_is_refused_as_such_and_not_run(tmp_path: Path) -> None:
    for name, path in evil_pickles(tmp_path).items():
        with pytest.raises(
            UserError, match=rf"{name} holds the Python object (posix|os)\.system.*safetensors"
        ):
            load_encoder(encoder(), path)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_of_data_alone_is_told_from_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "data.pth").write_bytes(pickle.dumps({"a": [1, 2]}, 4))
    with pytest.raises(UserError, match=r"a pickle that torch\.save did not write"):
        load_encoder(encoder(), tmp_path / "data.pth")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: {"model_state_dict": t, "epoch": 1},
        lambda t: {"model_ema": t},
        lambda t: {"model": t, "model_ema": {name: v + 1 for name, v in t.items()}, "step": torch.tensor(3)},
        lambda t: {"ema": {"module": t}, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}},
        lambda t: {
            "state_dict": {f"model.{k}": v for k, v in t.items()} | {"criterion.weight": torch.ones(2)},
            "pytorch-lightning_version": "2.2",
        },
        *(
            lambda t, before=before: {f"{before}{k}": v for k, v in t.items()}
            for before in ("module.", "encoder.", "backbone.", "_orig_mod.", "module._orig_mod.")
        ),
    ],
)
def test_weights_under_other_keys_and_prefixes(
    tmp_path: Path, wrap: Callable[[dict[str, Tensor]], Any]
) -> None:
    published = encoder(1)
    torch.save(wrap(published.state_dict()), tmp_path / "file.pth")
    model = encoder(2)
    report = load_encoder(model, tmp_path / "file.pth")
    assert same_encoder(model, published) and not report.missing
    assert (report.where in str(report)) and report.where in (
        "",
        "model_state_dict",
        "model_ema",
        "ema.module",
    )


def incomplete(tensors: dict[str, Tensor]) -> dict[str, tuple[dict[str, Tensor], str]]:
    """Encoders of other layouts, and what the refusal must name."""
    halved = dict(tensors)
    for at in range(2):
        bias = halved.pop(f"blocks.{at}.attn.qkv.bias")
        halved |= {f"blocks.{at}.attn.q_bias": bias[:24], f"blocks.{at}.attn.v_bias": bias[48:]}
    return {
        "no_mlp": (
            {name.replace(".mlp.", "."): value for name, value in tensors.items()},
            r"lacks blocks.\*.mlp.fc1, blocks.\*.mlp.fc2 in 2 of 2 blocks \(it has blocks.\*.fc1, ",
        ),
        "q_bias": (
            halved,
            r"lacks blocks.\*.attn.qkv.bias in 2 of 2 blocks \(it has blocks.\*.attn.q_bias, ",
        ),
        "one_block": (
            {name: value for name, value in tensors.items() if name != "blocks.0.norm1.weight"},
            r"lacks blocks.\*.norm1.weight in 1 of 2 blocks: not a whole encoder",
        ),
        "no_class": ({n: v for n, v in tensors.items() if n != "cls_token"}, "lacks cls_token: "),
        "no_positions": ({n: v for n, v in tensors.items() if n != "pos_embed"}, "lacks pos_embed: "),
        "scaled": (
            tensors | {f"blocks.{at}.ls1.gamma": torch.ones(24) for at in range(2)},
            r"has blocks.\*.ls1.gamma in 2 of 2 blocks, which the model does not compute with",
        ),
        "registers": (tensors | {"reg_token": torch.zeros(1, 4, 24)}, "has reg_token, which the model"),
    }


def test_an_encoder_is_whole_or_refused(tmp_path: Path) -> None:
    model = encoder(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for name, (tensors, words) in incomplete(encoder(1).state_dict()).items():
        torch.save({"model": tensors}, tmp_path / f"{name}.pth")
        with pytest.raises(UserError, match=words) as refusal:
            load_encoder(model, tmp_path / f"{name}.pth")
        assert "\n" not in str(refusal.value)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


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
    parts = {"ema": {"module": good}, "other": good}
    torch.save(parts, folder / "two.pth")
    both = {f"{of}.{name}": tensor for of in ("student", "teacher") for name, tensor in good.items()}
    torch.save({"model": both}, folder / "pair.pth")
    with zipfile.ZipFile(folder / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("archive/data.pkl", bytes(50_000_000))
    torch.save({**good, "pos_embed": torch.zeros(1, 1, 24).expand(1, 1 << 40, 24)}, folder / "spread.pth")
    for end in ("pth", "safetensors"):
        (folder / f"page.{end}").write_text("<!DOCTYPE html><html><title>Sign in</title></html>")
        (folder / f"lfs.{end}").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
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
        "empty.pth": "no tensors by name .it has epoch: int.*torch.save",
        "list.pth": "no tensors by name .it is a list.",
        "cut.pth": "cut short",
        "cut.safetensors": "cut short",
        "words.pth": "is text: give a .pth or .safetensors",
        "words.safetensors": "is text: give a .pth or .safetensors",
        "page.pth": "is an HTML page .*: download it again in a browser",
        "page.safetensors": "is an HTML page .*: download it again in a browser",
        "lfs.pth": "is a Git LFS pointer.*: run 'git lfs pull'",
        "lfs.safetensors": "is a Git LFS pointer.*: run 'git lfs pull'",
        "two.pth": r"several sets of tensors, under ema.module, other: .*f\['ema'\]\['module'\]",
        "pair.pth": r"several encoders .under student\., teacher\..",
        "bomb.pth": "unpacks to 50,000,000 bytes",
        "spread.pth": "pos_embed says more values than it holds",
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
        "from facecorpus.errors import UserError\n"
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
