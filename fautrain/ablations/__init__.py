"""Ablations: a grid of fine-tuning runs that differ in what is varied, and one table of them all.

grid.py      rows and what they are made of; `fautrain ablation NAME` and `--over`
grids/       those of the papers by name, one file a paper
running.py   the rows one after the other, each an ordinary run that goes on where it was stopped
measures.py  what else is measured of a finished row: identity probe, cost, another data set
outcome.py   a row's numbers, and its difference to the first row on the same people
tables.py    all rows as tables and words; page.py, figure.py: as a page and as a picture
"""
