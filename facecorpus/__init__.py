"""Curate face corpora: archives in, verified WebDataset shards and a closed ledger out."""
