"""The papers' ablations, one file a paper."""
