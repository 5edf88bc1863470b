"""Busbars or substations as nodes and branches as edges, one in each direction."""

from collections.abc import Mapping

import numpy as np

from gridrl.arrays import Bools, Floats, Ints
from gridrl.graphs.batch import Features, GraphBatch, Relation, Static, alike, columns
from gridrl.graphs.parts import BUSBAR, GEN, LINE, LOAD, Parts
from gridrl.observation import Observation

UNITS = (
    "p_gen", "q_gen", "p_load", "q_load", "p_storage", "room_up", "room_down", "p_renewable",
    "p_gen_expected", "p_load_expected",
)  # fmt: skip
# A branch as its source end sees it: (here, there) instead of (from, to)
BRANCH = (
    "rho", "rho_trend", "p_here", "q_here", "p_there", "q_there", "v_here", "v_there", "angle",
    "status", "overflow", "cooldown", "maintenance_near", "maintenance_left", "r", "x", "b",
    "inverse_rating", "log_ratio", "shift",
)  # fmt: skip
_SWAPPED = [LINE.index(name) for name in (
    "rho", "rho_trend", "p_to", "q_to", "p_from", "q_from", "v_to", "v_from", *LINE[8:]
)]  # fmt: skip
_TURNED = [LINE.index(name) for name in ("angle", "log_ratio", "shift")]


class BusbarView:
    """Busbars in use and branches in service; the rest is masked."""

    name = "busbar"
    node_features: Mapping[str, tuple[str, ...]] = {"busbar": BUSBAR + UNITS}
    edge_features: Mapping[Relation, tuple[str, ...]] = {("busbar", "branch", "busbar"): BRANCH}

    def __init__(self, static: Static) -> None:
        self.parts = Parts(static)

    def __call__(self, seen: Observation) -> GraphBatch:
        """Graphs of a batch of observations."""
        parts, n = self.parts, self.parts.static.grid.n_branch
        node = parts.node(seen)
        features, used = parts.busbars(seen, node)
        features = np.concatenate([features, _units(parts, seen, node[:, 2 * n :])], axis=2)
        first, other = node[:, :n], node[:, n : 2 * n]
        on = np.asarray(seen.line_status, np.bool_) & (first >= 0) & (other >= 0)
        return _both_ways("busbar", parts, seen, features, used, first, other, on)


class SubstationView:
    """Substations and all branches; a split shows in how many terminals sit on busbar 2."""

    name = "substation"
    node_features: Mapping[str, tuple[str, ...]] = {
        "substation": (*BUSBAR[:2], "terminals", "on_busbar_2", *BUSBAR[4:], *UNITS)
    }
    edge_features: Mapping[Relation, tuple[str, ...]] = {
        ("substation", "branch", "substation"): BRANCH
    }

    def __init__(self, static: Static) -> None:
        self.parts = Parts(static)

    def __call__(self, seen: Observation) -> GraphBatch:
        """Graphs of a batch of observations."""
        parts, static = self.parts, self.parts.static
        grid, n = static.grid, static.grid.n_branch
        node = parts.node(seen)
        busbars, used = parts.busbars(seen, node)
        busbars = np.concatenate([busbars, _units(parts, seen, node[:, 2 * n :])], axis=2)
        split = np.flatnonzero(static.second_node >= 0)
        second = static.second_node[split]
        out = busbars[:, : grid.n_substation].copy()
        column = BUSBAR.index
        other = busbars[:, second]
        own = out[:, split]
        merged = own + other
        for name in ("v_min", "v_max", "splittable", "cooldown"):
            merged[..., column(name)] = own[..., column(name)]
        for name in ("used", "slack"):
            merged[..., column(name)] = np.maximum(own[..., column(name)], other[..., column(name)])
        ends = np.stack([own, other])
        live = ends[..., column("v")] > 0
        merged[..., column("v")] = ends[..., column("v")].sum(0) / np.maximum(live.sum(0), 1)
        merged[..., column("second")] = other[..., column("terminals")]
        out[:, split] = merged
        both = np.zeros((seen.batch, grid.n_substation), np.bool_)
        both |= used[:, : grid.n_substation]
        both[:, split] |= used[:, second]
        ends_at = (alike(grid.from_substation, seen.batch), alike(grid.to_substation, seen.batch))
        on = np.ones((seen.batch, n), np.bool_)
        return _both_ways("substation", parts, seen, out, both, *ends_at, on)


def _units(parts: Parts, seen: Observation, node: Ints) -> Features:
    """[B, n_node, n_feature] what the units of each busbar do together; see `UNITS`."""
    static = parts.static
    gens, loads, stores = parts.gens(seen), parts.loads(seen), static.storage_unit
    at_gen, at_load = node[:, static.gen_unit], node[:, parts.load_unit]
    p, low, high = (gens[..., GEN.index(name)] for name in ("p", "p_min", "p_max"))
    movable = np.asarray(static.redispatchable, np.float64)

    def total(where: Ints, values: Floats | Features) -> Floats:
        return parts.gathered(where, np.asarray(values, np.float64))

    return columns(
        total(at_gen, p), total(at_gen, gens[..., GEN.index("q")]), total(at_load, loads[..., 0]),
        total(at_load, loads[..., 1]), total(node[:, stores], seen.unit_p[:, stores]),
        total(at_gen, np.maximum(high - p, 0.0) * movable),
        total(at_gen, np.maximum(p - low, 0.0) * movable), total(at_gen, p * static.renewable),
        total(at_gen, gens[..., GEN.index("p_expected")]),
        total(at_load, loads[..., LOAD.index("p_expected")]),
        shape=(seen.batch, static.n_node),
    )  # fmt: skip


def _both_ways(
    kind: str, parts: Parts, seen: Observation, features: Features, used: Bools, first: Ints,
    other: Ints, on: Bools,
) -> GraphBatch:  # fmt: skip
    """One kind of node, and each branch as two edges."""
    relation: Relation = (kind, "branch", kind)
    lines = parts.lines(seen)
    back = lines[..., _SWAPPED]
    back[..., _TURNED] *= -1.0
    first, other = np.maximum(first, 0), np.maximum(other, 0)
    index = np.stack(
        [np.concatenate([first, other], axis=1), np.concatenate([other, first], axis=1)], axis=1
    )
    return GraphBatch(
        nodes={kind: features}, node_mask={kind: used},
        edge_index={relation: index.astype(np.int64)},
        edges={relation: np.concatenate([lines, back], axis=1)},
        edge_mask={relation: np.concatenate([on, on], axis=1)},
        whole=np.asarray(seen.time, np.float32),
    )  # fmt: skip
