"""One injection on the base topology, without the front of a batch.

The front of `gridrl.powerflow.kernels_once`: it packs what the kernel takes into few arrays.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridrl.grid import Complexes, Floats, Injection
from gridrl.jit import announced
from gridrl.powerflow.kernels_once import newton_once
from gridrl.powerflow.nearby import SolvedBase
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.solve import BOLD, LOWEST


@dataclass(frozen=True, eq=False, kw_only=True)
class Once:
    """A solved base, packed for `gridrl.powerflow.kernels_once.newton_once`."""

    n_node: int
    n_unit: int
    arrays: tuple[NDArray[np.generic], NDArray[np.generic], NDArray[np.generic], Floats]

    def solve(self, injection: Injection) -> tuple[Complexes, NDArray[np.int32], Floats] | None:
        """(v, iterations, mismatch) of one injection, or None where a batch's front is needed."""
        p = injection.p
        if p.shape != (1, self.n_unit):
            return None
        out = (np.empty((1, self.n_node), np.complex128), np.empty(1, np.int32), np.empty(1))
        with announced("newton-once"):
            fits = newton_once(*self.arrays, p, injection.q, injection.v_set, out)
        return out if fits and out[1][0] >= 0 else None


def packed(base: SolvedBase, options: FlowOptions) -> Once:
    """Pack a solved base and the settings of its solution."""
    model = base.model
    pattern, units = model.pattern, model.shunt_units
    held = model.held_rows
    yg, yb, dg, db, kind = model.base_arrays
    injection = model.injection
    n, n_fill = pattern.n, pattern.u_idx.size
    low, u, d = (part.astype(np.float64) for part in base.factors)
    sizes = (
        n, model.n_entry, n_fill, model.grid.n_unit, held.size, units.size,
        int(model.has_current_part),
    )  # fmt: skip
    whole = (
        sizes, pattern.y_ptr, pattern.u_ptr, pattern.l_ptr, pattern.node, model.unit_at, held,
        model.holder[held], units,
    )  # fmt: skip
    real = (
        yg, yb, dg, db, low[: 4 * n_fill], u[: 4 * n_fill], d, base.v.ravel(),
        model.power_parts.ravel(), injection.p[0], injection.q[0],
        (options.tolerance, options.max_iteration, *BOLD, LOWEST),
    )  # fmt: skip
    arrays = (
        np.concatenate(whole),
        np.concatenate([pattern.y_idx, pattern.u_idx, pattern.l_idx]),
        kind,
        np.concatenate(real),
    )
    return Once(n_node=model.n_node, n_unit=model.grid.n_unit, arrays=arrays)
