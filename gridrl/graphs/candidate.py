"""Busbars, lines, loads, generators and storage as nodes, with edges to every busbar in reach.

The edges are fixed. ``active`` says which of them a state uses, so that a busbar with nothing on it
is a node like any other, and a network can score a split before it is made.
"""

from collections.abc import Mapping

import numpy as np

from gridrl.arrays import Ints
from gridrl.graphs.batch import GraphBatch, Relation, Static, alike, columns
from gridrl.graphs.parts import BUSBAR, GEN, LINE, LOAD, STORAGE, Parts
from gridrl.observation import Observation

SIBLING: Relation = ("busbar", "same_substation", "busbar")


class CandidateView:
    """The heterogeneous representation."""

    name = "candidate"
    node_features: Mapping[str, tuple[str, ...]] = {
        "busbar": BUSBAR, "line": LINE, "load": LOAD, "gen": GEN, "storage": STORAGE,
    }  # fmt: skip
    edge_features: Mapping[Relation, tuple[str, ...]] = {
        ("line", "from_end", "busbar"): ("active",),
        ("line", "to_end", "busbar"): ("active",),
        ("load", "at", "busbar"): ("active",),
        ("gen", "at", "busbar"): ("active",),
        ("storage", "at", "busbar"): ("active",),
        SIBLING: (),
    }

    def __init__(self, static: Static) -> None:
        self.parts = Parts(static)
        grid, n = static.grid, static.grid.n_branch
        units = 2 * n + np.arange(grid.n_unit)
        terminals = {
            ("line", "from_end"): np.arange(n),
            ("line", "to_end"): n + np.arange(n),
            ("load", "at"): units[self.parts.load_unit],
            ("gen", "at"): units[static.gen_unit],
            ("storage", "at"): units[static.storage_unit],
        }
        # relation: terminals, [2, m] edges, [m] terminal of each edge
        self.attached = {
            (kind, verb, "busbar"): self._candidates(static, which)
            for (kind, verb), which in terminals.items()
        }
        split = np.flatnonzero(static.second_node >= 0)
        second = static.second_node[split]
        self.siblings = np.stack(
            [np.concatenate([split, second]), np.concatenate([second, split])]
        ).astype(np.int64)

    def _candidates(self, static: Static, terminals: Ints) -> tuple[Ints, Ints]:
        """[2, m] a node of this kind and a busbar it could sit on, and the terminal that does."""
        first = static.grid.terminal_substation[terminals]
        second = np.where(self.parts.movable[terminals], static.second_node[first], -1)
        own = np.arange(terminals.size)
        two = np.flatnonzero(second >= 0)
        index = np.stack([np.concatenate([own, own[two]]), np.concatenate([first, second[two]])])
        return index.astype(np.int64), np.concatenate([terminals, terminals[two]])

    def __call__(self, seen: Observation) -> GraphBatch:
        """Graphs of a batch of observations."""
        parts, batch = self.parts, seen.batch
        node = parts.node(seen)
        nodes = {
            "busbar": parts.busbars(seen, node)[0], "line": parts.lines(seen),
            "load": parts.loads(seen), "gen": parts.gens(seen), "storage": parts.stores(seen),
        }  # fmt: skip
        index, edges = {}, {}
        for relation, (pairs, terminal) in self.attached.items():
            active = node[:, terminal] == pairs[1]
            index[relation] = alike(pairs, batch)
            edges[relation] = columns(active, shape=active.shape)
        index[SIBLING] = alike(self.siblings, batch)
        edges[SIBLING] = np.zeros((batch, self.siblings.shape[1], 0), np.float32)
        return GraphBatch(
            nodes=nodes,
            node_mask={kind: alike(np.ones(x.shape[1], np.bool_), batch)
                       for kind, x in nodes.items()},
            edge_index=index, edges=edges,
            edge_mask={relation: alike(np.ones(x.shape[1], np.bool_), batch)
                       for relation, x in edges.items()},
            whole=np.asarray(seen.time, np.float32),
        )  # fmt: skip
