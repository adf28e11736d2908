"""Samples from WebDataset shards: an exact, seeded order, decoded to uint8.

shards.py   which shards there are, and whether they are the right ones
index.py    where each sample lies; the held-out split
order.py    which sample comes when: pure arithmetic
augment.py  RandAugment
decode.py   JPEG -> crop, resize, flip in uint8; `normalise` for the device
fetch.py    remote shards in a local folder
bad.py      unusable samples: named, counted, bounded
workers.py  what a loader process does
batches.py  Batch; Loader, which hands out those of one rank
loader.py   make_loader, held_out_loader, ordered_loader

Labelled sets, on top of it:

benchmark.py  what a TOML file of manifests/ says: AUs, positive rule, folds, published scores
labels.py     the manifests' labels as arrays, a row per frame
folds.py      which frames train, validate and test
origin.py     whether the people are drawn
"""

from fautrain.data.bad import BadSample, BadSamples
from fautrain.data.batches import Batch, Loader, worker_deaths
from fautrain.data.decode import normalise
from fautrain.data.index import Corpus, open_corpus
from fautrain.data.loader import held_out_loader, make_loader, ordered_loader, shard_cache
from fautrain.data.order import LoaderState

__all__ = [
    "BadSample",
    "BadSamples",
    "Batch",
    "Corpus",
    "Loader",
    "LoaderState",
    "held_out_loader",
    "make_loader",
    "normalise",
    "open_corpus",
    "ordered_loader",
    "shard_cache",
    "worker_deaths",
]
