"""Samples from WebDataset shards: an exact, seeded order, decoded to uint8.

shards.py   which shards there are, and whether they are the right ones
index.py    where each sample lies; the held-out split
order.py    which sample comes when: pure arithmetic
decode.py   JPEG -> crop, resize, flip in uint8; `normalise` for the device
fetch.py    remote shards in a local folder
bad.py      unusable samples: named, counted, bounded
workers.py  what a loader process does
loader.py   make_loader, held_out_loader, Batch
"""

from fautrain.data.bad import BadSample, BadSamples
from fautrain.data.decode import normalise
from fautrain.data.index import Corpus, open_corpus
from fautrain.data.loader import Batch, Loader, held_out_loader, make_loader, shard_cache
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
    "shard_cache",
]
