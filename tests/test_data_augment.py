"""RandAugment: what a policy means, and that its randomness belongs to seed, epoch and sample alone."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from data_shards import write_corpus
from PIL import Image
from timm.data import auto_augment

from facecorpus.errors import UserError
from fautrain.data import (
    Augment,
    Loader,
    LoaderOptions,
    LoaderState,
    held_out_loader,
    make_loader,
    open_corpus,
    shard_cache,
)
from fautrain.data.randaugment import FILL, OPERATIONS, RandAugment, check_policy

POLICY = "rand-m9-mstd0.5-inc1"
PX = 32


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def scene(number: int = 0) -> np.ndarray:
    """A picture that any operation changes: ramps, noise, another brightness in each quarter."""
    y, x = np.mgrid[0:PX, 0:PX]
    noise = np.random.default_rng(number).integers(0, 30, (PX, PX, 3))
    quarters = np.where(y < PX // 2, 60, 20) + np.where(x < PX // 2, 50, 0)
    return (noise + quarters[..., None] + np.stack([3 * x, 3 * y, x + y], 2)).clip(5, 240).astype(np.uint8)


def augmented(image: np.ndarray, samples: int, policy: str = POLICY, seed: int = 0) -> np.ndarray:
    """(samples, height, width, 3) of the one picture."""
    augment, out = RandAugment(policy, seed), np.stack([image] * samples)
    for sample, picture in enumerate(out):
        augment(picture, 0, sample)
    return out


def states() -> tuple[Any, ...]:
    name, words, *rest = np.random.get_state()
    return random.getstate(), name, words.tolist(), *rest


def test_the_published_policy_is_two_of_fifteen_operations_of_magnitude_nine() -> None:
    transform: Any = RandAugment(POLICY, 0).transform
    assert (transform.num_layers, transform.choice_weights) == (2, None)  # each as likely, also twice
    plain = ["AutoContrast", "Equalize", "Invert"]
    geometric = ["Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"]
    colour = [f"{n}Increasing" for n in ("Posterize", "Solarize", "Color", "Contrast", "Brightness")]
    colour += ["SharpnessIncreasing", "SolarizeAdd"]
    assert sorted(o.name for o in transform.ops) == sorted(plain + geometric + colour)
    for operation in transform.ops:
        assert (operation.prob, operation.magnitude, operation.magnitude_std) == (0.5, 9, 0.5)
        assert operation.magnitude_max is None  # clipped to 10
        assert operation.kwargs == {"fillcolor": (124, 116, 104), "resample": Image.Resampling.BICUBIC}
    levels = {o.name: o.level_fn(9.0, o.hparams)[0] for o in transform.ops if o.level_fn is not None}
    assert sorted(o.name for o in transform.ops if o.level_fn is None) == plain
    strengths = {
        "Rotate": 27,
        "ShearX": 0.27,
        "ShearY": 0.27,
        "TranslateXRel": 0.405,
        "TranslateYRel": 0.405,
        "PosterizeIncreasing": 1,
        "SolarizeIncreasing": 26,
        "SolarizeAdd": 99,
    }
    for name, strength in strengths.items():
        assert abs(levels.pop(name)) == pytest.approx(strength)
    assert len(levels) == 4
    for factor in levels.values():  # what colour, contrast, brightness and sharpness are multiplied by
        assert abs(factor - 1) == pytest.approx(0.81)


def test_a_quarter_is_left_alone() -> None:
    """Two operations, each applied with probability 1/2: 25 % untouched (and little more: a shift of nothing
    does not occur at magnitude 9)."""
    image = scene()
    same = (augmented(image, 1200) == image).all((1, 2, 3)).mean()
    assert 0.2 < same < 0.3  # 4 standard deviations


def test_bare_areas_have_the_mean_colour() -> None:
    out = augmented(np.zeros((PX, PX, 3), np.uint8), 400)
    shown = {tuple(c) for c in out[:, [0, 0, -1, -1], [0, -1, 0, -1]].reshape(-1, 3).tolist()}
    assert (124, 116, 104) in shown  # round(255 x ImageNet's mean)
    moved = (out == np.array(FILL, np.uint8)).all(3).any((1, 2))
    # Five of fifteen operations move the picture: 1 - (1 - 1/6)^2 = 0.31, less what comes to lie on the fill.
    assert 0.15 < moved.mean() < 0.35


def test_grey_stays_near_grey_and_is_sometimes_far_from_it() -> None:
    """Brightness goes up as often as down, by 0.81 +- 0.05; inversion hardly changes mid-grey."""
    means = augmented(np.full((PX, PX, 3), 128, np.uint8), 1200).mean((1, 2, 3))
    assert abs(means.mean() - 128) < 6
    dark, bright = (means < 40).mean(), (means > 215).mean()
    assert 0.01 < dark < 0.06 and 0.01 < bright < 0.08  # 1/30 each


def test_strength_follows_the_magnitude() -> None:
    image = scene().astype(float)
    changes = [np.abs(augmented(scene(), 300, f"rand-m{m}-inc1") - image).mean() for m in (1, 5, 9)]
    assert changes[0] < 0.8 * changes[1] and changes[1] < 0.9 * changes[2]


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_timms(name: str) -> None:
    """Against timm's own, through Pillow, over the whole range of strengths of its policies."""
    rng = np.random.default_rng(len(name))
    strengths: dict[str, Any] = {
        "rotate": lambda: (rng.uniform(-30, 30),),
        "posterize": lambda: (int(rng.integers(1, 9)),),
        "solarize": lambda: (int(rng.integers(0, 257)),),
        "solarize_add": lambda: (int(rng.integers(0, 110)),),
        **dict.fromkeys(("color", "contrast", "brightness", "sharpness"), lambda: (rng.uniform(0.1, 1.9),)),
        **dict.fromkeys(("shear_x", "shear_y"), lambda: (rng.uniform(-0.3, 0.3),)),
        **dict.fromkeys(("translate_x_rel", "translate_y_rel"), lambda: (rng.uniform(-0.45, 0.45),)),
    }
    options = {"fillcolor": FILL, "resample": Image.Resampling.BICUBIC}
    plain = [np.full((PX, PX, 3), value, np.uint8) for value in (0, 77, 255)]
    noise = rng.integers(0, 256, (PX - 7, PX, 3), np.uint8)
    for image in [*plain, noise, *(scene(n) for n in range(20))]:
        strength = strengths.get(name, tuple)()
        theirs = getattr(auto_augment, name)(Image.fromarray(image), *strength, **options)
        ours = OPERATIONS[name](image.copy(), *strength, **options)
        apart = np.abs(ours.astype(int) - np.asarray(theirs).astype(int))
        if name == "rotate":
            smooth = image is not noise
            assert np.median(apart) <= (1 if smooth else 12) and apart.mean() < (3 if smooth else 20)
        elif "shear" in name or "translate" in name:
            assert apart.max() <= 1 and apart.mean() < 0.02
        else:
            assert apart.max() == 0


def test_posterising_to_no_bits_is_black_and_no_error() -> None:
    """At magnitude 10, which N(9, 0.5^2) reaches, timm asks for 0 bits."""
    black = (augmented(scene(), 300, "rand-m10-n1-p1-inc1") == 0).all((1, 2, 3)).mean()
    assert 0.02 < black < 0.14  # 1 of 15


def test_draws_are_pinned() -> None:
    """Means of the first pictures. Another stream would let a resumed run see other pictures; Pillow's own
    arithmetic may move the last digit."""
    means = augmented(scene(), 8, seed=5).mean((1, 2, 3))
    assert means.tolist() == pytest.approx([120.7, 123.4, 118.7, 127.8, 119.8, 113.5, 130.5, 64.5], abs=1)


def test_draws_belong_to_seed_epoch_and_sample() -> None:
    first, other, image = RandAugment(POLICY, 1), RandAugment(POLICY, 2), scene()

    def pictures(augment: RandAugment, epoch: int, samples: Any) -> list[bytes]:
        out: list[bytes] = []
        for sample in samples:
            picture = image.copy()
            augment(picture, epoch, sample)
            out.append(picture.tobytes())
        return out

    base = pictures(first, 0, range(20))
    random.seed(99)
    np.random.seed(99)
    assert pictures(first, 0, reversed(range(20)))[::-1] == base
    for another in (
        pictures(first, 1, range(20)),
        pictures(first, 0, range(20, 40)),
        pictures(other, 0, range(20)),
    ):
        assert sum(a == b for a, b in zip(base, another, strict=True)) < 8  # those left alone
    large = RandAugment(POLICY, 2**64 - 1)
    assert pictures(large, 2**40, [2**40]) == pictures(large, 2**40, [2**40])


def test_global_generators_are_left_as_they_were() -> None:
    random.gauss(0, 1)  # leaves a second number waiting, which is state too
    before = states()
    augmented(scene(), 20)
    assert states() == before
    augment = RandAugment(POLICY, 0)
    augment.transform = lambda image: image[random.randrange(4), 9]
    with pytest.raises(IndexError):
        augment(np.zeros((4, 4, 3), np.uint8), 0, 0)
    assert states() == before


@pytest.mark.parametrize(
    "policy", ["rand-m9-mstd0.5-inc1", "rand", "rand-m9-n3-mstd0.5", "rand-m12-mmax15-p0.3-inc0"]
)
def test_policies(policy: str) -> None:
    check_policy(policy)
    RandAugment(policy, 0)(scene(), 0, 0)


@pytest.mark.parametrize(
    "policy", ["", "rand-", "m9", "augmix-m5", "rand-m9-foo", "rand-m9.5", "rand-x3", "rand-inc2"]
)
def test_what_is_no_policy_is_refused(policy: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.randaugment = .* is no RandAugment policy") as caught:
        Augment(randaugment=policy)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus") / "out"
    write_corpus(out, (9, 14, 11), lambda n: simplejpeg.encode_jpeg(scene(n), 95))
    return out


def loader(out: Path, **options: Any) -> Loader:
    kind, policy = options.pop("augment", "rrc-flip"), options.pop("randaugment", POLICY)
    augment = Augment(kind, PX, (0.08, 1.0), randaugment=policy)
    defaults = {"batch_per_step": 8, "augment": augment, "seed": 4, "cache": str(out.parent / "cache")}
    return make_loader(
        open_corpus(str(out), shard_cache(out.parent / "cache")), LoaderOptions(**{**defaults, **options})
    )


def pixels(out: Path, world: int = 1, state: LoaderState | None = None, **options: Any) -> dict[int, bytes]:
    """Sample -> its picture in an epoch."""
    ranks = [loader(out, rank=r, world=world, **options) for r in range(world)]
    found = {
        sample: image.tobytes()
        for rank in ranks
        for batch in rank.epoch(state)
        for sample, image in zip(batch.samples.tolist(), batch.images.numpy(), strict=True)
    }
    for rank in ranks:
        rank.close()
    return found


def test_ranks_workers_and_resuming_change_no_pixel(corpus: Path) -> None:
    random.seed(1)
    np.random.seed(1)
    before = states()
    plain = pixels(corpus)
    assert states() == before and len(plain) == 34
    random.seed(2)
    np.random.seed(2)
    assert plain == pixels(corpus, workers=1) == pixels(corpus, workers=2) == pixels(corpus, world=3)
    for workers in (0, 2):
        rest = pixels(corpus, state=LoaderState(0, 3), workers=workers)
        assert len(rest) == 34 - 3 * 8 and rest.items() <= plain.items()


def test_epochs_seeds_and_the_policy_change_pixels(corpus: Path) -> None:
    plain = pixels(corpus, augment="none")
    changed = [
        pixels(corpus, augment="none", state=LoaderState(1)),
        pixels(corpus, augment="none", seed=5),
        pixels(corpus, augment="none", randaugment=None),
        pixels(corpus, augment="none", randaugment="rand-m9-mstd0.5-inc0"),
    ]
    for other in changed:
        assert 10 < sum(plain[s] != other[s] for s in plain) <= 34


def test_crop_and_flip_are_those_without_randaugment(corpus: Path) -> None:
    """A quarter is untouched, and then shows the very crop that a loader without RandAugment shows."""
    with_it, without = pixels(corpus), pixels(corpus, randaugment=None)
    assert 2 <= sum(with_it[s] == without[s] for s in without) <= 17


def test_held_out_pictures_are_not_augmented(corpus: Path) -> None:
    options = LoaderOptions(
        held_out=0.5, batch_per_step=8, augment=Augment(image_px=PX), cache=str(corpus.parent / "cache")
    )
    opened = open_corpus(str(corpus), shard_cache(options.cache))
    plain = held_out_loader(opened, options)
    augment = Augment("rrc-flip", PX, randaugment=POLICY)
    other = held_out_loader(opened, replace(options, augment=augment))
    for a, b in itertools.zip_longest(plain.epoch(), other.epoch()):
        assert (a.images == b.images).all()
