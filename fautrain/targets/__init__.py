"""What a model's outputs say and how well they say it: one file for each kind of target.

base.py          `Target`, what evaluation, labels and tables know of a kind; the registry
action_units.py  labels of action units, as occurrence and intensity have them
intensity.py     how strongly action units are active: ICC, MSE, MAE
occurrence.py    action units present or absent: 99 thresholds, F1
expression.py    one expression of several: accuracy, confusion matrix
"""

from fautrain.targets.base import TARGETS, UNCODED, Measure, Target, Words

__all__ = ["TARGETS", "UNCODED", "Measure", "Target", "Words"]
