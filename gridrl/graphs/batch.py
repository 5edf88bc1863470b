"""What graph views take and give: the unchanging part of a grid, and batches of graphs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gridrl.arrays import Bools, Floats, Ints
from gridrl.grid import Grid
from gridrl.observation import Observation

Features = NDArray[np.float32]
Relation = tuple[str, str, str]  # kind of node, name, kind of node
LARGEST = 1e4  # values are cut there


@dataclass(frozen=True, eq=False, kw_only=True)
class Static:
    """What does not change while a grid is operated."""

    grid: Grid
    second_node: Ints  # [n_substation] node of busbar 2, -1 where it may not be split
    gen_unit: Ints  # [n_gen]
    gen_limits: Floats  # [4, n_gen] p.u. p_min, p_max, ramp up and down in one step
    redispatchable: Bools  # [n_gen]
    renewable: Bools  # [n_gen]
    storage_unit: Ints  # [n_storage]
    storage_limits: Floats  # [3, n_storage] p.u. h energy, p.u. largest intake and production
    soft_steps: int  # steps above the rating until a line trips
    line_cooldown: int
    substation_cooldown: int
    reconnection: int
    day_steps: int  # steps of a day, the scale of maintenance

    @property
    def n_node(self) -> int:
        """Busbars: node ``s`` is busbar 1 of substation ``s``, second busbars follow."""
        return self.grid.n_substation + int((self.second_node >= 0).sum())


@dataclass(frozen=True, eq=False, kw_only=True)
class GraphBatch:
    """B graphs in arrays of one shape; what a state leaves out is masked, not missing."""

    nodes: Mapping[str, Features]  # kind: [B, n, n_feature]
    node_mask: Mapping[str, Bools]  # kind: [B, n]
    edge_index: Mapping[Relation, Ints]  # relation: [B, 2, m] numbers of nodes, source and target
    edges: Mapping[Relation, Features]  # relation: [B, m, n_feature]
    edge_mask: Mapping[Relation, Bools]  # relation: [B, m]
    whole: Features  # [B, 5] see `Observation.time`

    @property
    def batch(self) -> int:
        return len(self.whole)


class GraphView(Protocol):
    """A representation of one grid."""

    name: str
    node_features: Mapping[str, tuple[str, ...]]  # names of the features of each kind of node
    edge_features: Mapping[Relation, tuple[str, ...]]

    def __call__(self, seen: Observation) -> GraphBatch:
        """Graphs of a batch of observations."""
        ...


def columns(*values: Any, shape: tuple[int, int]) -> Features:
    """[B, n, n_feature] from features that broadcast to [B, n]; what is not finite becomes 0."""
    out = np.empty((*shape, len(values)), np.float32)
    for k, value in enumerate(values):
        finite = np.nan_to_num(np.asarray(value, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        out[..., k] = np.clip(finite, -LARGEST, LARGEST)
    return out


def alike(values: Any, batch: int) -> NDArray[Any]:
    """The same array for each member of a batch, without a copy."""
    found = np.asarray(values)
    return np.broadcast_to(found, (batch, *found.shape))


def share(values: Any, most: int) -> Floats:
    """Counts as shares of their limit; 0 where there is none."""
    return np.asarray(values, np.float64) / most if most > 0 else np.zeros(np.shape(values))


def as_arrays(graphs: GraphBatch) -> dict[str, NDArray[Any]]:
    """The arrays by plain names, as Gymnasium's dictionaries want them.

    ``busbar``, ``busbar_mask``, ``line_from_end_busbar_index`` and so on; kinds without a node are
    left out, and features of edges that have none.
    """
    out: dict[str, NDArray[Any]] = {"whole": graphs.whole}
    for kind, values in graphs.nodes.items():
        if values.shape[1]:
            out[kind] = values
            out[f"{kind}_mask"] = graphs.node_mask[kind].astype(np.int8)
    for relation, index in graphs.edge_index.items():
        if index.shape[2]:
            name = "_".join(relation)
            out[f"{name}_index"] = index
            out[f"{name}_mask"] = graphs.edge_mask[relation].astype(np.int8)
            if graphs.edges[relation].shape[2]:
                out[f"{name}_features"] = graphs.edges[relation]
    return out


def from_arrays(arrays: Mapping[str, NDArray[Any]], view: GraphView) -> GraphBatch:
    """The batch that `as_arrays` wrote; a single graph counts as a batch of one."""
    one = np.ndim(arrays["whole"]) == 1
    found = {key: np.asarray(value)[None] if one else np.asarray(value)
             for key, value in arrays.items()}  # fmt: skip
    batch = len(found["whole"])
    nodes, node_mask = {}, {}
    for kind, names in view.node_features.items():
        empty = np.zeros((batch, 0, len(names)), np.float32)
        nodes[kind] = found.get(kind, empty)
        node_mask[kind] = found.get(f"{kind}_mask", empty[..., 0]).astype(np.bool_)
    index, edges, edge_mask = {}, {}, {}
    for relation, names in view.edge_features.items():
        name = "_".join(relation)
        index[relation] = found.get(f"{name}_index", np.zeros((batch, 2, 0), np.int64))
        m = index[relation].shape[2]
        edges[relation] = found.get(
            f"{name}_features", np.zeros((batch, m, len(names)), np.float32)
        )
        edge_mask[relation] = found.get(f"{name}_mask", np.zeros((batch, m))).astype(np.bool_)
    return GraphBatch(
        nodes=nodes, node_mask=node_mask, edge_index=index, edges=edges, edge_mask=edge_mask,
        whole=found["whole"],
    )  # fmt: skip
