"""Observations as graphs, in several representations, as NumPy arrays of one fixed shape.

candidate   busbars, lines, loads, generators and storage are nodes; a terminal has an edge to each
            busbar it could sit on, so that an empty busbar, and with it every split, is visible
busbar      busbars are nodes, branches are edges; what is not in use is masked
substation  substations are nodes, branches are edges
line        branches are nodes; edges join those that take over each other's flow (LODF)

A graph names no element and counts none: features are per unit or shares, so that one network
serves any grid. `gridrl.graphs.pyg` converts to PyTorch Geometric.
"""

from collections.abc import Callable

from gridrl.errors import ScenarioError
from gridrl.graphs.batch import GraphBatch, GraphView, Static
from gridrl.graphs.candidate import CandidateView
from gridrl.graphs.compact import BusbarView, SubstationView
from gridrl.graphs.line import LineView

VIEWS: dict[str, Callable[[Static], GraphView]] = {
    "candidate": CandidateView,
    "busbar": BusbarView,
    "substation": SubstationView,
    "line": LineView,
}

__all__ = ["VIEWS", "GraphBatch", "GraphView", "Static", "view"]


def view(name: str, static: Static) -> GraphView:
    """A representation by name, for one grid.

    Raises
    ------
    ScenarioError
        There is no such representation.
    """
    if name not in VIEWS:
        raise ScenarioError(f"No graph is called {name!r}. There are {', '.join(VIEWS)}.")
    return VIEWS[name](static)
