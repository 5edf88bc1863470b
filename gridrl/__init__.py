"""gridrl: what happens to a power grid if, and what to do about it.

The names below are the public interface. They load on first use: ``import gridrl`` itself
imports nothing heavier than this file.

>>> import gridrl
>>> case = gridrl.load("case118")
>>> gridrl.flow(case).status
array([0], dtype=int8)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gridrl import whatif as whatif
    from gridrl.case import Case as Case
    from gridrl.case import Fate as Fate
    from gridrl.case import ReportRow as ReportRow
    from gridrl.edit import open_elements as open_elements
    from gridrl.edit import scale_load as scale_load
    from gridrl.errors import CaseError as CaseError
    from gridrl.errors import ElementError as ElementError
    from gridrl.errors import GridError as GridError
    from gridrl.errors import GridrlError as GridrlError
    from gridrl.errors import MissingExtra as MissingExtra
    from gridrl.grid import Grid as Grid
    from gridrl.grid import Injection as Injection
    from gridrl.grid import Topology as Topology
    from gridrl.io import load as load
    from gridrl.io import names as names
    from gridrl.plot import plot_grid as plot_grid
    from gridrl.powerflow import FlowOptions as FlowOptions
    from gridrl.powerflow import FlowResult as FlowResult
    from gridrl.powerflow import FlowStatus as FlowStatus
    from gridrl.powerflow import flow as flow
    from gridrl.security import SecurityResult as SecurityResult
    from gridrl.security import security as security

__version__ = "0.1.0"

_HOME = {
    "Case": "gridrl.case",
    "CaseError": "gridrl.errors",
    "ElementError": "gridrl.errors",
    "Fate": "gridrl.case",
    "FlowOptions": "gridrl.powerflow",
    "FlowResult": "gridrl.powerflow",
    "FlowStatus": "gridrl.powerflow",
    "Grid": "gridrl.grid",
    "GridError": "gridrl.errors",
    "GridrlError": "gridrl.errors",
    "Injection": "gridrl.grid",
    "MissingExtra": "gridrl.errors",
    "ReportRow": "gridrl.case",
    "SecurityResult": "gridrl.security",
    "Topology": "gridrl.grid",
    "flow": "gridrl.powerflow",
    "load": "gridrl.io",
    "names": "gridrl.io",
    "open_elements": "gridrl.edit",
    "plot_grid": "gridrl.plot",
    "scale_load": "gridrl.edit",
    "security": "gridrl.security",
    "whatif": "gridrl",
}

__all__ = [*sorted(_HOME), "__version__"]  # noqa: PLE0604 - one table, not two


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'gridrl' has no attribute {name!r}")
    if home == "gridrl":  # a package of ours
        return import_module(f"gridrl.{name}")
    module = import_module(home)
    # The package gridrl.security is callable: docs/decisions/0002.
    value = module if home == f"gridrl.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
