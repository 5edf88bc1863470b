"""Empirical Bayes: candidate priors among which the evidence of the data chooses.

The evidence learns how alike agents are: without overlap it turns sharing off, and so protects
an agent against what the others want.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from irl.errors import IrlError
from irl.priors import TurboPrior, iid, rbf

OVERLAPS = (0.0, 0.5, 0.9, 0.99)


def candidate_priors(
    n_shared: int,
    *,
    variances: Sequence[float] = (1.0, 4.0),
    overlaps: Sequence[float] = OVERLAPS,
    positions: ArrayLike | None = None,
    lengths: Sequence[float] = (1.5,),
) -> tuple[TurboPrior, ...]:
    """Every variance of a weight, split into shared and own by every overlap.

    Without ``positions`` [n_shared, k] weights are independent; with them, smooth fields of each
    of ``lengths`` are candidates too. Overlap 0 shares almost nothing, 1 everything.
    """
    if any(not 0.0 <= overlap <= 1.0 for overlap in overlaps):
        raise IrlError(f"overlaps must lie in 0..1; got {tuple(overlaps)}.")
    shapes = [iid(n_shared, 1.0)]
    if positions is not None:
        shapes += [rbf(positions, 1.0, length) for length in lengths]
        if any(shape.shape != shapes[0].shape for shape in shapes):
            raise IrlError(f"positions must have one row for each of {n_shared} shared weights.")
    # A shared part of exactly zero would make its own evidence degenerate.
    return tuple(
        TurboPrior(
            shared=variance * max(overlap, 1e-6) * shape,
            deviation=np.asarray(variance * (1.0 - overlap) * shape),
        )
        for shape in shapes
        for variance in variances
        for overlap in overlaps
    )
