"""Samples from WebDataset shards: an exact, seeded order, decoded to uint8.

shards.py       which shards there are, and whether they are the right ones
index.py        where each sample lies; the held-out split
order.py        which sample comes when: pure arithmetic
decode.py       JPEG -> crop, resize, flip in uint8; `Normalise` on the device
randaugment.py  RandAugment
fetch.py        remote shards in a local folder
bad_samples.py  unusable samples: named, counted, bounded
plan.py         LoaderOptions; which samples a rank sees, when, and how they look
dataset.py      what a loader process does
loader.py       Batch; Loader, which hands out those of one rank; make_loader, held_out_loader, ordered_loader
provenance.py   how the crops were cut; whether the people are drawn

Labelled sets, on top of it:

benchmark.py  what a TOML file of manifests/ says: AUs, positive rule, folds, published scores
labels.py     the manifests' labels as arrays, a row per frame
folds.py      which frames train, validate and test
"""

from fautrain.data.bad_samples import BadSample, BadSamples
from fautrain.data.decode import Augment, Normalise
from fautrain.data.index import Corpus, open_corpus
from fautrain.data.loader import (
    Batch,
    Loader,
    held_out_loader,
    make_loader,
    ordered_loader,
    shard_cache,
    worker_deaths,
)
from fautrain.data.order import LoaderState
from fautrain.data.plan import LoaderOptions

__all__ = [
    "Augment",
    "BadSample",
    "BadSamples",
    "Batch",
    "Corpus",
    "Loader",
    "LoaderOptions",
    "LoaderState",
    "Normalise",
    "held_out_loader",
    "make_loader",
    "open_corpus",
    "ordered_loader",
    "shard_cache",
    "worker_deaths",
]
