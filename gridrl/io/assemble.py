"""From tables of buses, branches and units, one row each, to a checked `Case`.

The doors for bus-branch formats (MATPOWER, PSS/E, PowerModels, powsybl's bus view) fill these
tables in per unit and radians; this module only joins them. It knows no file format.

Rows say where they hang by *bus position*; buses that share a ``node`` become one substation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from gridrl.case import Case, ReportRow
from gridrl.costs import Costs
from gridrl.errors import CaseError, offending
from gridrl.grid import Bools, Complexes, Floats, Grid, Injection, Ints, Topology
from gridrl.io.validate import validate

Busbars = NDArray[np.int8]


@dataclass(frozen=True, eq=False, kw_only=True)
class Buses:
    """Buses in file order. Star points carry an empty ``id`` and stay out of the bus list."""

    id: tuple[str, ...]  # [n] the file's own, unique; "" for a star point
    name: tuple[str, ...]  # [n]
    node: Ints  # [n] buses with one number are one substation; any integers
    vn_kv: Floats  # [n]
    v_min: Floats  # [n] p.u., 0 where unlimited
    v_max: Floats  # [n] p.u., np.inf where unlimited
    area: tuple[str, ...] = ()  # [n] or none at all; "" where the file states none


@dataclass(frozen=True, eq=False, kw_only=True)
class Branches:
    """Two-ports, p.u.; rows with one (kind, id) are legs of one element."""

    kind: tuple[str, ...]  # [n]
    id: tuple[str, ...]  # [n]
    name: tuple[str, ...]  # [n]
    from_bus: Ints  # [n] bus position
    to_bus: Ints  # [n] bus position
    y_ff: Complexes  # [n] p.u.
    y_ft: Complexes  # [n] p.u.
    y_tf: Complexes  # [n] p.u.
    y_tt: Complexes  # [n] p.u.
    b_dc: Floats  # [n] p.u.
    shift_dc: Floats  # [n] rad
    i_max_from: Floats  # [n] p.u., np.inf where unlimited
    i_max_to: Floats  # [n] p.u., np.inf where unlimited
    s_max: Floats  # [n] p.u., np.inf where unlimited
    angle_min: Floats  # [n] rad, -np.inf where unlimited
    angle_max: Floats  # [n] rad, np.inf where unlimited
    closed: Bools  # [n]
    from_busbar: Busbars  # [n] 0 or 1
    to_busbar: Busbars  # [n] 0 or 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Units:
    """What hangs on one bus, p.u., injections positive; see `Grid` for the fields."""

    kind: tuple[str, ...]  # [n] element kind and unit kind alike
    id: tuple[str, ...]  # [n]
    name: tuple[str, ...]  # [n]
    bus: Ints  # [n] bus position
    busbar: Busbars  # [n] 0 where out of service, else 1
    p: Floats  # [n] p.u.
    q: Floats  # [n] p.u.
    v_set: Floats  # [n] p.u., NaN where it does not control voltage
    is_reference: Bools  # [n]
    va_reference: Floats  # [n] rad
    slack_weight: Floats  # [n]
    dispatchable: Bools  # [n]
    p_min: Floats  # [n] p.u.
    p_max: Floats  # [n] p.u.
    q_min: Floats  # [n] p.u.
    q_max: Floats  # [n] p.u.
    i_share_p: Floats  # [n]
    i_share_q: Floats  # [n]
    z_share_p: Floats  # [n]
    z_share_q: Floats  # [n]

    @classmethod
    def plain(
        cls,
        kind: str,
        ident: Sequence[str],
        bus: Ints,
        p: Floats,
        q: Floats,
        *,
        name: Sequence[str] | None = None,
        in_service: Bools | None = None,
        impedance: bool = False,
    ) -> Self:
        """Units that control nothing: constant power, or constant impedance (a shunt)."""
        n = len(ident)
        zero, inf = np.zeros(n), np.full(n, np.inf)
        share = np.full(n, 1.0 if impedance else 0.0)
        on = np.ones(n, dtype=bool) if in_service is None else in_service
        return cls(
            kind=(kind,) * n,
            id=tuple(ident),
            name=("",) * n if name is None else tuple(name),
            bus=bus,
            busbar=on.astype(np.int8),
            p=p,
            q=q,
            v_set=np.full(n, np.nan),
            is_reference=np.zeros(n, dtype=bool),
            va_reference=zero,
            slack_weight=zero,
            dispatchable=np.zeros(n, dtype=bool),
            p_min=-inf,
            p_max=inf,
            q_min=-inf,
            q_max=inf,
            i_share_p=zero,
            i_share_q=zero,
            z_share_p=share,
            z_share_q=share,
        )


Table = TypeVar("Table", Branches, Units)


def stack(parts: Sequence[Table]) -> Table:
    """Concatenate tables of one type, row under row."""
    first = parts[0]
    columns: dict[str, Any] = {}
    for field in fields(first):
        values = [getattr(part, field.name) for part in parts]
        if isinstance(values[0], tuple):
            columns[field.name] = tuple(item for value in values for item in value)
        else:
            columns[field.name] = np.concatenate(values)
    return type(first)(**columns)


def assemble(
    *,
    name: str,
    s_base_mva: float,
    buses: Buses,
    branches: Branches,
    units: Units,
    costs: Costs | None = None,
    report: Sequence[ReportRow],
    source: str,
    origin: str,
    notes: Sequence[str] = (),
) -> Case:
    """Join the tables into a `Case`; ``costs`` count units as ``units`` lists them.

    Raises
    ------
    CaseError
        Two buses, or two elements of a kind, share an id, or buses of one node differ in voltage.
    GridError
        `Grid` refuses the arrays.
    """
    grid = _grid(name, s_base_mva, buses, branches, units, costs or Costs.none())
    busbar = np.concatenate([branches.from_busbar, branches.to_busbar, units.busbar])
    case = Case(
        grid=grid,
        topology=Topology(busbar=busbar[None, :], closed=branches.closed[None, :]),
        injection=Injection(p=units.p[None, :], q=units.q[None, :], v_set=units.v_set[None, :]),
        report=tuple(report),
        source=source,
        origin=origin,
        notes=tuple(notes),
    )
    return replace(case, report=(*report, *validate(case)))


def _grid(
    name: str, s_base_mva: float, buses: Buses, branches: Branches, units: Units, costs: Costs
) -> Grid:
    substation, lead = _substations(buses)
    real = np.array([bool(ident) for ident in buses.id], dtype=bool)
    listed = np.flatnonzero(real)
    element_of, elements = _elements(branches, units)
    n_branch = len(branches.id)
    return Grid(
        name=name,
        s_base_mva=s_base_mva,
        bus_id=tuple(buses.id[k] for k in listed),
        bus_name=tuple(buses.name[k] for k in listed),
        bus_substation=substation[listed],
        bus_x=np.full(listed.size, np.nan),
        bus_y=np.full(listed.size, np.nan),
        bus_area=tuple(buses.area[k] for k in listed) if buses.area else ("",) * listed.size,
        substation_name=tuple(buses.name[k] or buses.id[k] for k in lead),
        vn_kv=buses.vn_kv[lead],
        v_min=_per_node(np.fmax, buses.v_min, substation, 0.0),
        v_max=_per_node(np.fmin, buses.v_max, substation, np.inf),
        is_star=~real[lead],
        element_kind=tuple(kind for kind, _, _ in elements),
        element_id=tuple(ident for _, ident, _ in elements),
        element_name=tuple(text for _, _, text in elements),
        branch_element=element_of[:n_branch],
        from_substation=substation[branches.from_bus],
        to_substation=substation[branches.to_bus],
        **{key: getattr(branches, key) for key in _BRANCH_FIELDS},
        unit_element=element_of[n_branch:],
        unit_kind=units.kind,
        unit_substation=substation[units.bus],
        controls_voltage=~np.isnan(units.v_set),
        **{key: getattr(units, key) for key in _UNIT_FIELDS},
        costs=costs,
    )


_BRANCH_FIELDS = (
    *("y_ff", "y_ft", "y_tf", "y_tt", "b_dc", "shift_dc"),
    *("i_max_from", "i_max_to", "s_max", "angle_min", "angle_max"),
)
_UNIT_FIELDS = (
    *("is_reference", "va_reference", "slack_weight", "dispatchable"),
    *("p_min", "p_max", "q_min", "q_max"),
    *("i_share_p", "i_share_q", "z_share_p", "z_share_q"),
)


def _substations(buses: Buses) -> tuple[Ints, Ints]:
    """Substation of every bus, in order of first appearance, and the bus that names each."""
    repeated = _repeated([ident for ident in buses.id if ident])
    if repeated:
        raise CaseError(
            f"{len(repeated)} bus ids occur more than once: {', '.join(repeated[:5])}. "
            "Renumber or remove the repeated buses."
        )
    _, first, inverse = np.unique(buses.node, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    substation, lead = rank[inverse].astype(np.int64), first[order].astype(np.int64)
    differs = np.abs(buses.vn_kv - buses.vn_kv[lead][substation]) > 1e-6 * buses.vn_kv
    if differs.any():
        raise CaseError(
            f"{differs.sum()} buses are joined to a bus of another nominal voltage: "
            f"{offending(differs, buses.id)}. Correct their base kV or open the switch."
        )
    return substation, lead


def _per_node(pick: np.ufunc, value: Floats, substation: Ints, start: float) -> Floats:
    """The tightest limit among the buses of each substation."""
    out = np.full(int(substation.max(initial=-1)) + 1, start)
    pick.at(out, substation, value)
    return out


def _elements(branches: Branches, units: Units) -> tuple[Ints, list[tuple[str, str, str]]]:
    """Element index of every branch, then of every unit, and (kind, id, name) of each element."""
    index: dict[tuple[str, str], int] = {}
    elements: list[tuple[str, str, str]] = []
    element_of = []
    for table in (branches, units):
        for kind, ident, text in zip(table.kind, table.id, table.name, strict=True):
            key = (kind, ident)
            if key not in index:
                index[key] = len(elements)
                elements.append((kind, ident, text))
            element_of.append(index[key])
    return np.array(element_of, dtype=np.int64), elements


def _repeated(items: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    out = []
    for item in items:
        if item in seen:
            out.append(item)
        seen.add(item)
    return out
