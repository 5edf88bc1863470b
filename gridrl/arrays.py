"""Array types of the data classes, and the lock that makes their arrays read-only.

Knows nothing of grids: `gridrl.costs` and `gridrl.grid` stand on it.
"""

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from gridrl.errors import GridError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Complexes = NDArray[np.complex128]


def freeze(instance: object, float_ok_nan: frozenset[str] = frozenset()) -> None:
    """Copy and lock every array field, and refuse NaN where it has no meaning."""
    for field in fields(instance):  # type: ignore[arg-type]
        value = getattr(instance, field.name)
        if isinstance(value, np.ndarray):
            own = value.copy()
            if own.dtype.kind in "fc" and field.name not in float_ok_nan and np.isnan(own).any():
                where = np.flatnonzero(np.isnan(own))[:5].tolist()
                raise GridError(f"{field.name} is NaN at positions {where}. Give a finite value.")
            own.setflags(write=False)
            object.__setattr__(instance, field.name, own)
