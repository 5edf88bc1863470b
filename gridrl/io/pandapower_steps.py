"""Tap changers and switched shunts of a pandapower net whose range is stated."""

from typing import Any

import numpy as np

from gridrl.grid import Floats, Ints
from gridrl.io.pandapower_branches import Branches
from gridrl.io.pandapower_units import Units, column
from gridrl.steps import Steps

_WHOLE = 1e-6


def read_steps(
    net: Any, branches: Branches, units: Units, first: dict[str, int], s_base: float
) -> Steps:
    """Of two-winding transformers whose ratio changes in phase, and of shunts with several steps.

    ``first`` is the index of each table's first element. Tables of positions, phase shifters and
    changers of three-winding transformers are left where they stand.
    """
    trafo, shunt = net.trafo, net.shunt
    neutral = column(trafo, "tap_neutral", 0.0)
    low, high = column(trafo, "tap_min", np.nan), column(trafo, "tap_max", np.nan)
    now = column(trafo, "tap_pos", np.nan)
    now = np.where(np.isnan(now), neutral, now)
    size = column(trafo, "tap_step_percent", np.nan) / 100.0
    ratio = 1.0 + (now - neutral) * size
    side = np.array([str(text) for text in trafo.tap_side], dtype=str)
    kind = trafo.tap_changer_type if "tap_changer_type" in trafo else ["Ratio"] * len(trafo)
    fits = np.array([str(text) in ("Ratio", "Symmetrical") for text in kind], np.bool_)
    fits &= np.isin(side, ("hv", "lv")) & (column(trafo, "tap_step_degree", 0.0) % 360.0 == 0.0)
    fits &= column(trafo, "tap_dependency_table", 0.0) == 0.0
    fits &= (np.abs(size) > 0.0) & (low < high) & _whole(low) & _whole(high) & _whole(neutral)
    ends = np.minimum(1.0 + (low - neutral) * size, 1.0 + (high - neutral) * size)
    fits &= (ends > 0.0) & (ratio > 0.0)
    rows = np.flatnonzero(fits)
    branch, rows = _where(branches.element, first["trafo"], rows)
    at = np.flatnonzero(_shunts(shunt))
    unit, at = _where(units.element, first["shunt"], at)
    vn = net.bus.vn_kv.loc[shunt.bus].to_numpy() / column(shunt, "vn_kv", np.nan)
    each = np.where(np.isnan(vn), 1.0, vn) ** 2 / s_base
    return Steps(
        tap_branch=branch, tap_at_to=side[rows] == "lv", tap_ratio=ratio[rows],
        tap_size=size[rows], tap_neutral=neutral[rows].astype(np.int64),
        tap_low=low[rows].astype(np.int64), tap_high=high[rows].astype(np.int64),
        shunt_unit=unit, shunt_step=column(shunt, "step", 1.0)[at].astype(np.int64),
        shunt_most=column(shunt, "max_step", 1.0)[at].astype(np.int64),
        shunt_p=-(column(shunt, "p_mw", 0.0) * each)[at],
        shunt_q=-(column(shunt, "q_mvar", 0.0) * each)[at],
    )  # fmt: skip


def _shunts(shunt: Any) -> Any:
    """Rows with more than one step of equal size."""
    step, most = column(shunt, "step", 1.0), column(shunt, "max_step", 1.0)
    same = column(shunt, "step_dependency_table", 0.0) == 0.0
    whole = _whole(step) & _whole(most)
    return same & whole & (step >= 0) & (step <= most) & (most > 1)


def _whole(value: Floats) -> Any:
    return np.isfinite(value) & (np.abs(value - np.round(value)) < _WHOLE)


def _where(element: Ints, first: int, rows: Ints) -> tuple[Ints, Ints]:
    """Place of the rows' elements among branches or units, and the rows that have one."""
    places = {int(e): k for k, e in enumerate(element)}
    found = [(places[first + r], r) for r in rows.tolist() if first + r in places]
    pairs = np.array(found, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
