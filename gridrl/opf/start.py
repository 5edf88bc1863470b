"""Where a solver begins: flat, from a DC flow, from a power flow, or from another solution."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import splu

from gridrl.errors import GridError
from gridrl.grid import Floats
from gridrl.opf.problem import OpfProblem
from gridrl.opf.solution import OpfSolution

STARTS = ("flat", "dc", "flow")
STIFF = 300.0  # p.u.: across such an admittance, 1 % of voltage is 3 p.u. of power
SWEEPS = 60


@dataclass(frozen=True, eq=False, kw_only=True)
class Start:
    """A first point, in node order; limits need not hold."""

    name: str
    va: Floats  # [n_node] rad
    v: Floats  # [n_node] p.u.
    s: Floats  # [n_source] p.u.


def choose_start(problem: OpfProblem, name: str, warm: OpfSolution | None) -> Start:
    """The start called ``name``; or that of a ``warm`` solution.

    Raises
    ------
    GridError
        There is no such start.
    """
    if warm is not None:
        return _warm(problem, warm)
    if name == "flat":
        return _levelled(problem, _flat(problem))
    if name == "dc":
        return _levelled(problem, _dc(problem))
    if name == "flow":
        return _flow(problem)
    raise GridError(f"There is no start '{name}'. Choose one of {', '.join(STARTS)}.")


def _flat(problem: OpfProblem) -> Start:
    """All angles equal, 1 p.u., every power in the middle of its range (0 where unlimited)."""
    va = np.zeros(problem.n_node)
    if problem.reference.size:
        va[:] = problem.reference_angle[0]
    va[problem.reference] = problem.reference_angle
    return Start(name="flat", va=va, v=np.ones(problem.n_node), s=_middle(problem))


def _levelled(problem: OpfProblem, start: Start) -> Start:
    """The start with voltages that agree at both ends of branches of next to no impedance.

    Limits push voltages of neighbours apart; across such a branch, that would start a flow of
    hundreds of p.u.
    """
    y_from = np.abs(problem.y[:, 0])
    y_to = np.abs(problem.y[:, 3])
    y_across = np.abs(problem.y[:, 1])
    stiff = np.flatnonzero(y_across > STIFF)
    if not stiff.size:
        return start
    here = np.concatenate([problem.from_node[stiff], problem.to_node[stiff]])
    there = np.concatenate([problem.to_node[stiff], problem.from_node[stiff]])
    weight = np.concatenate([y_from[stiff], y_to[stiff]])
    across = np.tile(y_across[stiff], 2)
    n = problem.n_node
    total = np.bincount(here, weight, n) + 1.0
    margin = 0.01 * np.minimum(problem.v_max - problem.v_min, 1.0)
    low, high = problem.v_min + margin, problem.v_max - margin
    v = np.clip(start.v, low, high)
    for _ in range(SWEEPS):
        pulled = (np.bincount(here, across * v[there], n) + start.v) / total
        v = np.clip(0.5 * (v + pulled), low, high)
    return replace(start, v=v)


def _middle(problem: OpfProblem) -> Floats:
    low, high = problem.sources.lower, problem.sources.upper
    both = np.isfinite(low) & np.isfinite(high)
    with np.errstate(invalid="ignore"):
        middle = np.where(both, 0.5 * (low + high), 0.0)
    return np.clip(middle, low, high)


def _dc(problem: OpfProblem) -> Start:
    """Angles of a DC flow with every active power at the same share of its range."""
    n = problem.n_node
    s = _middle(problem)
    fixed = problem.p_fixed + problem.p_current - problem.g_shunt
    active = ~problem.sources.reactive
    low = np.where(np.isfinite(problem.sources.lower), problem.sources.lower, s)[active]
    high = np.where(np.isfinite(problem.sources.upper), problem.sources.upper, s)[active]
    room = float((high - low).sum())
    need = -float(fixed.sum()) - float(low.sum())
    s[active] = low + (high - low) * np.clip(need / room if room > 0 else 0.0, 0.0, 1.0)
    injected = fixed.copy()
    np.add.at(injected, problem.sources.node[active], s[active])
    grid, line = problem.case.grid, problem.branch
    b, shift = grid.b_dc[line], grid.shift_dc[line]
    start, stop = problem.from_node, problem.to_node
    np.add.at(injected, start, b * shift)
    np.add.at(injected, stop, -b * shift)
    rows = np.concatenate([start, stop, start, stop])
    columns = np.concatenate([start, stop, stop, start])
    matrix = scipy.sparse.coo_array(
        (np.concatenate([b, b, -b, -b]), (rows, columns)), shape=(n, n)
    ).tolil()
    va = np.zeros(n)
    matrix[problem.reference, :] = 0.0
    matrix[problem.reference, problem.reference] = 1.0
    injected[problem.reference] = problem.reference_angle
    try:
        va = splu(matrix.tocsc()).solve(injected)
    except RuntimeError:  # singular: lossless loops of opposite reactance
        return _flat(problem)
    if not np.isfinite(va).all():
        return _flat(problem)
    return Start(name="dc", va=va, v=np.ones(n), s=s)


def _flow(problem: OpfProblem) -> Start:
    """Voltages and powers of the case's own power flow; flat where it has none."""
    from gridrl.powerflow import flow

    result = flow(problem.case)
    if not result.solved()[0]:
        return _flat(problem)
    node = np.where(problem.busbar == 0, problem.substation, result.second_node[problem.substation])
    v = result.v[0][node]
    if not np.isfinite(v).all():
        return _flat(problem)
    power = result.unit_power(0)
    return Start(
        name="flow",
        va=np.angle(v),
        v=np.abs(v),
        s=_split(problem, power.real, power.imag),
    )


def _warm(problem: OpfProblem, warm: OpfSolution) -> Start:
    v = warm.v[problem.substation, problem.busbar]
    known = np.isfinite(v)
    v = np.where(known, v, 1.0)
    va = np.angle(v)
    return Start(name="warm", va=va, v=np.abs(v), s=_split(problem, warm.p, warm.q))


def _split(problem: OpfProblem, p: Floats, q: Floats) -> Floats:
    """Source values that add up to the units' powers, filling segments in order."""
    sources = problem.sources
    left = {
        (reactive, int(unit)): float((q if reactive else p)[unit])
        - float((sources.constant_q if reactive else sources.constant_p)[unit])
        for unit, reactive in zip(sources.unit, sources.reactive, strict=True)
    }
    out = np.empty(sources.n)
    for k in range(sources.n):
        key = (bool(sources.reactive[k]), int(sources.unit[k]))
        last = k + 1 == sources.n or (
            sources.unit[k + 1] != sources.unit[k] or sources.reactive[k + 1] != sources.reactive[k]
        )
        value = left[key] if last else float(np.clip(left[key], sources.lower[k], sources.upper[k]))
        out[k] = value
        left[key] -= value
    return out
