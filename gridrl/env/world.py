"""Everything about an environment that no step changes: grid, equations, series, rules.

Made once by `build_world`; the pure functions of `gridrl.env.step` take it with a state.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gridrl.actions import IMMOVABLE
from gridrl.arrays import Bools, Floats, Ints
from gridrl.case import Case
from gridrl.env.fleet import Fleet, fleet_of
from gridrl.env.opponent import NOBODY, Opponent
from gridrl.env.rules import Rules
from gridrl.env.series import Series
from gridrl.errors import ScenarioError, offending
from gridrl.powerflow.engine import Engine, prepare
from gridrl.powerflow.model import Model, build_model
from gridrl.powerflow.options import FlowOptions

# Injections move by a few percent in a step: the second iteration needs no factors of its own.
# Where a substation is split, the first step is longer, and this does not pay.
STALE = 1
SMALLEST_SPLIT = 4  # terminals from which a substation is worth splitting


@dataclass(frozen=True, eq=False, kw_only=True)
class World:
    """A grid with its series and rules; make it with `build_world`."""

    case: Case
    series: Series
    rules: Rules
    fleet: Fleet
    opponent: Opponent
    area: Ints  # [n_substation] operator area of each substation
    engine: Engine

    @cached_property
    def places(self) -> tuple[Any, ...]:
        """Terminals as `gridrl.env.kernels_orders.judge_topology` takes them."""
        grid = self.case.grid
        fixed = np.zeros(grid.n_terminal, np.bool_)
        fixed[2 * grid.n_branch :] = [kind in IMMOVABLE for kind in grid.unit_kind]
        movable = ~fixed & ~grid.is_star[grid.terminal_substation]
        return (
            np.array(grid.terminal_substation), movable, self.splits, np.array(self.area),
        )  # fmt: skip

    @cached_property
    def splits(self) -> Bools:
        """[n_substation] whether a substation may be split."""
        return np.asarray(self.engine.model.second_node >= 0)

    @cached_property
    def branches(self) -> tuple[Any, ...]:
        """Branches as `gridrl.env.kernels_grid.loadings` takes them."""
        grid = self.case.grid
        parts = [
            part for y in (grid.y_ff, grid.y_ft, grid.y_tf, grid.y_tt) for part in (y.real, y.imag)
        ]
        rating = np.stack([grid.i_max_from, grid.i_max_to, grid.s_max])
        if self.rules.rho_side == "from":  # a rating in MVA counts at 1 p.u. voltage
            rating[0] = np.minimum(rating[0], grid.s_max)
        return (
            np.stack(parts, axis=1), np.array(grid.from_substation), np.array(grid.to_substation),
            1.0 / rating,
        )  # fmt: skip

    @cached_property
    def unit_arrays(self) -> tuple[Any, ...]:
        """Units as `gridrl.env.kernels_units.unit_powers` takes them."""
        g = self.case.grid
        return (
            np.array(g.unit_substation), np.array(g.controls_voltage | g.is_reference),
            np.array(g.is_reference), np.array(g.slack_weight), np.array(g.i_share_p),
            np.array(g.i_share_q), np.array(g.z_share_p), np.array(g.z_share_q),
        )  # fmt: skip

    @cached_property
    def sibling(self) -> Ints:
        """[n_node] the other busbar of a node's substation, -1 where there is none."""
        second = self.engine.model.second_node
        out = np.full(self.engine.model.n_node, -1, np.int64)
        split = np.flatnonzero(second >= 0)
        out[split] = second[split]
        out[second[split]] = split
        return out

    @cached_property
    def flow_arrays(self) -> tuple[Any, Any]:
        """``models`` and ``world`` as `gridrl.env.kernels_settle` takes them."""
        model = self.engine.model
        plain = build_model(
            model.grid, model.topology, model.injection, island_rule=self.engine.options.island_rule
        )
        return (
            (self._model_arrays(plain, STALE), self._model_arrays(model, -1)),
            (
                self.base_switching, self.branches, np.array(model.second_node),
                self.rules.rho_side == "both",
            ),
        )  # fmt: skip

    def _model_arrays(self, model: Model, stale: int) -> tuple[Any, ...]:
        """One of the ``models``; its nodes numbered as in the model of the engine."""
        whole, n_substation = self.engine.model, model.grid.n_substation
        node = model.pattern.node
        node = np.where(
            node < n_substation, node, whole.second_node[model.node_substation[node]]
        ).astype(np.int64)
        held = model.held_rows.astype(np.int64)
        starts = (
            self.sibling[node], model.own_start[0], held, model.holder[held].astype(np.int64),
        )  # fmt: skip
        shunts = (
            model.shunt_units.astype(np.int64), np.array(model.injection.p[0]),
            np.array(model.injection.q[0]),
        )  # fmt: skip
        nodes = (node, node[~model.alive], np.setdiff1d(np.arange(whole.n_node), node))
        return (
            model.pattern_arrays, model.base_arrays, model.network_arrays, model.base_topology,
            model.unit_arrays, model.unit_at, model.power_parts, shunts, starts, nodes, stale,
        )  # fmt: skip

    @cached_property
    def base_switching(self) -> tuple[Any, Any]:
        """Busbar of every terminal and status of every branch of the base state."""
        base = self.engine.model.topology
        return np.array(base.busbar[0]), np.array(base.closed[0])

    @cached_property
    def fleet_arrays(self) -> tuple[Any, ...]:
        """Generators, storage units and the units of both, as the kernels take them."""
        fleet = self.fleet
        return (
            fleet.gen_arrays, fleet.storage_arrays,
            (np.array(fleet.gen_unit), np.array(fleet.storage_unit)),
        )  # fmt: skip

    @cached_property
    def tables(self) -> tuple[Floats, Floats, Floats]:
        """p, q [n_row, n_unit] and the v_set of `holding` [n_row, n_holding] of the series."""
        series = self.series
        return np.array(series.p), np.array(series.q), series.v_set[:, self.holding]

    @cached_property
    def holding(self) -> Ints:
        """Units that hold a voltage where they are connected."""
        return self.case.grid.holding_unit.astype(np.int64)

    @cached_property
    def outages(self) -> tuple[Any, ...]:
        """(maintenance, hazard) of every row, and (ahead, left, hazard left); see `Series`."""
        series = self.series
        ahead, left = series.maintenance_next
        return (
            np.array(series.maintenance), np.array(series.hazard), ahead, left,
            np.array(series.hazard_left),
        )  # fmt: skip

    @cached_property
    def eventful(self) -> Bools:
        """[n_row] whether maintenance or a hazard takes a line out."""
        series = self.series
        out = np.zeros(series.p.shape[0], np.bool_)
        for scheduled in (series.maintenance, series.hazard):
            if len(scheduled):
                out |= scheduled.any(axis=1)
        return out

    @cached_property
    def dispatch_settings(self) -> tuple[float, float, float, bool]:
        """Hours of a step, tolerances of 0.01 and 1e-7 MW in p.u., whether storage loses energy."""
        base = self.case.grid.s_base_mva
        return self.series.step_s / 3600.0, 0.01 / base, 1e-7 / base, self.rules.storage_losses

    @cached_property
    def dispatches(self) -> bool:
        """Whether any unit takes orders."""
        fleet = self.fleet
        return bool(fleet.redispatchable.any() or fleet.renewable.any() or fleet.n_storage)


def build_world(
    case: Case,
    series: Series,
    rules: Rules,
    *,
    fleet: Fleet | None = None,
    opponent: Opponent = NOBODY,
    area: Ints | None = None,
    split: Ints | None = None,
    threads: int = 1,
) -> World:
    """Prepare the equations of a grid for its series and rules.

    Parameters
    ----------
    fleet
        Generators and storage that take orders; by default what the case says of them.
    area
        [n_substation] operator area of each substation: limits of an order hold in each. One
        area by default.
    split
        Substations that may be split; by default those with four movable terminals or more.

    Raises
    ------
    ScenarioError
        The series, areas or opponent do not fit the grid.
    GridError
        The grid has nothing that fixes its voltage angle.
    """
    grid = case.grid
    if series.p.shape[1] != grid.n_unit:
        raise ScenarioError(
            f"The series are for {series.p.shape[1]} units; {grid.name} has {grid.n_unit}."
        )
    for name in ("maintenance", "hazard"):
        width = getattr(series, name).shape[1]
        if width != grid.n_branch:
            raise ScenarioError(f"{name} is for {width} branches; {grid.name} has {grid.n_branch}.")
    held = grid.holding_unit
    bad = np.asarray(~(series.v_set[:, held] > 0).all(axis=0))
    if bad.any():
        raise ScenarioError(
            "The series lack a positive v_set for units that control voltage: "
            f"{offending(bad, [grid.unit_label[int(m)] for m in held])}."
        )
    area = np.zeros(grid.n_substation, np.int64) if area is None else np.asarray(area, np.int64)
    if area.shape != (grid.n_substation,) or (area < 0).any():
        raise ScenarioError(
            f"area must give a number of 0 or more for each of the {grid.n_substation} substations."
        )
    if opponent.lines.size and not ((opponent.lines >= 0) & (opponent.lines < grid.n_branch)).all():
        raise ScenarioError("The opponent attacks a branch that the grid does not have.")
    options = FlowOptions(threads=threads)
    engine = prepare(case, split=worth_splitting(case) if split is None else split, options=options)
    return World(
        case=case, series=series, rules=rules, fleet=fleet_of(case) if fleet is None else fleet,
        opponent=opponent, area=area, engine=engine,
    )  # fmt: skip


def worth_splitting(case: Case) -> Ints:
    """Substations with enough movable terminals for two busbars."""
    grid = case.grid
    movable = np.ones(grid.n_terminal, np.bool_)
    movable[2 * grid.n_branch :] = [kind not in IMMOVABLE for kind in grid.unit_kind]
    counts = np.bincount(grid.terminal_substation[movable], minlength=grid.n_substation)
    return np.flatnonzero((counts >= SMALLEST_SPLIT) & ~grid.is_star).astype(np.int64)
