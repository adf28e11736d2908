"""Whether a part of a data set can be evaluated at all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fautrain import metrics
from fautrain.errors import UserError


def check_support(target: NDArray[Any], aus: tuple[int, ...], where: str) -> tuple[str, ...]:
    """A sentence for each AU that has no positive frame: its F1 is 0 whatever the model says.

    Cheap: call it before the training, so that nobody waits for an F1 that cannot be.

    Args:
        target: (n, A) 1, 0 or NaN. aus: A numbers. where: names the part, as "fold 2 of disfa".

    Raises:
        UserError: `target` is not A wide, or an AU is coded on no frame, so that it has no F1.
    """
    if target.ndim != 2 or target.shape[1] != len(aus):
        raise UserError(
            f"the targets of {where} have shape {target.shape} for {len(aus)} AUs; give one column per AU"
        )
    found = metrics.support(target)
    uncoded = [au for au, coded in zip(aus, found.coded, strict=True) if not coded]
    if uncoded:
        raise UserError(
            f"no test frame of {where} is coded for AU {', '.join(map(str, uncoded))}; leave it out of the "
            "AUs or add the missing labels"
        )
    absent = np.array(aus)[found.positives == 0]
    return tuple(
        f"AU {au} is present on no test frame of {where}: its F1 there is 0 by convention and counts in the "
        "mean."
        for au in absent
    )
