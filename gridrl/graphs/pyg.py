"""Graphs as PyTorch Geometric's `Data`, `HeteroData` and batches of them.

The one module of the graphs that loads torch. Masked nodes and edges are left out.
"""

from typing import Any

import numpy as np
import torch
from torch_geometric.data import Batch, Data, HeteroData

from gridrl.graphs.batch import GraphBatch


def to_pyg(graphs: GraphBatch, *, reverse: bool = True) -> list[Data | HeteroData]:
    """One graph for each member of the batch.

    Graphs with one kind of node become `Data` (``x, edge_index, edge_attr, u``), the others
    `HeteroData` with the same names by kind and relation. ``u`` [1, 5] is the time.

    Parameters
    ----------
    reverse
        Add the opposite of each relation between two kinds, named ``rev_...``, so that messages
        run both ways.
    """
    return [_one(graphs, b, reverse) for b in range(graphs.batch)]


def to_batch(graphs: GraphBatch, *, reverse: bool = True) -> Batch:
    """All graphs as one batch of PyTorch Geometric."""
    return Batch.from_data_list(to_pyg(graphs, reverse=reverse))


def _one(graphs: GraphBatch, b: int, reverse: bool) -> Data | HeteroData:
    place, x = {}, {}
    for kind, mask in graphs.node_mask.items():
        kept = np.flatnonzero(mask[b])
        place[kind] = np.full(mask.shape[1], -1)
        place[kind][kept] = np.arange(kept.size)
        x[kind] = torch.from_numpy(np.ascontiguousarray(graphs.nodes[kind][b, kept]))
    whole = torch.from_numpy(np.array(graphs.whole[b][None]))
    alone = len(x) == 1
    out: Any = Data(u=whole) if alone else HeteroData()
    if not alone:
        out.u = whole
    for kind, values in x.items():
        (out if alone else out[kind]).x = values
    for relation, index in graphs.edge_index.items():
        kept = np.flatnonzero(graphs.edge_mask[relation][b])
        source, target = (
            place[kind][index[b, end, kept]] for end, kind in ((0, relation[0]), (1, relation[2]))
        )
        joined = (source >= 0) & (target >= 0)
        pairs = torch.from_numpy(np.stack([source[joined], target[joined]]).astype(np.int64))
        features = torch.from_numpy(np.ascontiguousarray(graphs.edges[relation][b, kept[joined]]))
        for store, way in _stores(out, relation, pairs, alone, reverse):
            store.edge_index = way
            if features.shape[1]:
                store.edge_attr = features
    return out


def _stores(
    out: Any, relation: tuple[str, str, str], pairs: torch.Tensor, alone: bool, reverse: bool
) -> list[tuple[Any, torch.Tensor]]:
    """Where the edges of a relation go: once, or forth and back."""
    if alone:
        return [(out, pairs)]
    source, name, target = relation
    found = [(out[source, name, target], pairs)]
    if reverse and source != target:
        found.append((out[target, f"rev_{name}", source], pairs.flip(0)))
    return found
