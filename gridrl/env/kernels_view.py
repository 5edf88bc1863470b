"""Observations as one float32 vector for each state."""

import numpy as np

from gridrl.jit import kernel


@kernel
def write_field(values, low, high, first, out):
    """Put ``values`` [B, n] into columns ``first`` and following of ``out`` (float32[B, width]).

    What is not a number becomes 0, what is beyond the bounds the bound.
    """
    for b in range(values.shape[0]):
        for k in range(values.shape[1]):
            x = np.float64(values[b, k])
            if np.isnan(x):
                x = 0.0
            out[b, first + k] = min(max(x, low), high)
