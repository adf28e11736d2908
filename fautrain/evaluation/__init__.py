"""Evaluation: predictions of every epoch on disk, the three columns of a fold, results over folds, tables.

predictions.py   one Parquet file per evaluated epoch
fold.py          one fold: last epoch, selected epoch and choice (threshold), published protocol
result.py        folds and seeds to one result, with intervals; result.json
tables.py        the result as tables; words.py: what they mean; text.py, page.py: both as text and HTML
"""

from fautrain.evaluation.fold import Column, Curves, FoldResult, check_support, evaluate_fold
from fautrain.evaluation.predictions import (
    TEST,
    VALIDATION,
    Header,
    Predictions,
    prediction_files,
    prediction_path,
    read_predictions,
    write_predictions,
)
from fautrain.evaluation.result import (
    Result,
    Summary,
    aggregate,
    coverage,
    read_fold,
    read_result,
    write_result,
)
from fautrain.evaluation.text import brief, markdown

__all__ = [
    "TEST",
    "VALIDATION",
    "Column",
    "Curves",
    "FoldResult",
    "Header",
    "Predictions",
    "Result",
    "Summary",
    "aggregate",
    "brief",
    "check_support",
    "coverage",
    "evaluate_fold",
    "markdown",
    "prediction_files",
    "prediction_path",
    "read_fold",
    "read_predictions",
    "read_result",
    "write_predictions",
    "write_result",
]
