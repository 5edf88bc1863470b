"""Units of a pandapower net: loads, generators, external grids, shunts and what acts like them.

Powers leave pandapower's sign conventions here: a `Grid` unit is positive into the busbar.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from gridrl.grid import Bools, Floats, Ints
from gridrl.io.pandapower_branches import Branches
from gridrl.io.pandapower_ppc import Model

UNIT_TABLES = (
    "ext_grid gen dcline sgen load motor storage asymmetric_load asymmetric_sgen shunt ward xward"
).split()


@dataclass(frozen=True, eq=False, kw_only=True)
class Units:
    """Unit columns of a `Grid`, of its `Topology` and of its `Injection`."""

    element: Ints  # [n_unit]
    kind: np.ndarray[Any, np.dtype[np.str_]]  # [n_unit]
    substation: Ints  # [n_unit]
    on: Bools  # [n_unit] in service, at a bus in service
    controls_voltage: Bools  # [n_unit]
    is_reference: Bools  # [n_unit]
    va_reference: Floats  # [n_unit] rad
    slack_weight: Floats  # [n_unit]
    dispatchable: Bools  # [n_unit]
    p: Floats  # [n_unit] p.u. into the busbar
    q: Floats  # [n_unit] p.u.
    v_set: Floats  # [n_unit] p.u., NaN where the unit does not control voltage
    p_min: Floats  # [n_unit] p.u.
    p_max: Floats  # [n_unit] p.u.
    q_min: Floats  # [n_unit] p.u.
    q_max: Floats  # [n_unit] p.u.
    share: Floats  # [n_unit, 4] i_p, i_q, z_p, z_q


def build_units(model: Model, first: dict[str, int], loops: Branches) -> Units:
    """All units. ``loops`` are branches with both ends on one substation: they become shunts."""
    builders: dict[str, Callable[[Model, int], list[Units]]] = {
        "ext_grid": _ext_grids,
        "gen": _gens,
        "dcline": _dclines,
        "shunt": _shunts,
        "ward": _wards,
        "xward": _xwards,
        "motor": _motors,
    }
    parts: list[Units] = []
    for table in UNIT_TABLES:
        if len(model.net[table]):
            parts += builders.get(table, _constant_power(table))(model, first[table])
    parts.append(_loops(loops))
    return Units(
        **{
            item.name: np.concatenate([getattr(part, item.name) for part in parts])
            for item in fields(Units)
        }
    )


def column(frame: Any, name: str, missing: float) -> Floats:
    """A numeric column with ``missing`` for what is empty or not there at all."""
    if name not in frame:
        return np.full(len(frame), missing)
    values = np.asarray(frame[name].to_numpy(dtype=np.float64, na_value=np.nan))
    return np.where(np.isnan(values), missing, values)


def _units(model: Model, table: str, frame: Any, element: Ints, bus: Any, **own: Any) -> Units:
    """Units of one table with the usual defaults; ``p_mw`` and ``q_mvar`` come as p and q."""
    size = len(frame)
    on = frame.in_service.to_numpy(dtype=bool) & model.bus_in_service(bus)
    zero, unlimited = np.zeros(size), np.full(size, np.inf)
    base = model.net.sn_mva
    scaled = ("p", "q", "p_min", "p_max", "q_min", "q_max")
    columns = {
        "element": element,
        "kind": np.full(size, table),
        "substation": model.substation_of(bus),
        "on": on,
        "controls_voltage": np.zeros(size, dtype=bool),
        "is_reference": np.zeros(size, dtype=bool),
        "va_reference": zero,
        "slack_weight": zero,
        "dispatchable": np.zeros(size, dtype=bool),
        "p": zero,
        "q": zero,
        "v_set": np.full(size, np.nan),
        "p_min": -unlimited,
        "p_max": unlimited,
        "q_min": -unlimited,
        "q_max": unlimited,
        "share": np.zeros((size, 4)),
    } | own
    return Units(**{key: v / base if key in scaled else v for key, v in columns.items()})


def _limits(frame: Any, *, load: bool) -> dict[str, Floats]:
    """P and Q limits in MW and Mvar, turned around for what counts consumption positive."""
    limits: dict[str, Floats] = {}
    for quantity, unit in (("p", "mw"), ("q", "mvar")):
        low = column(frame, f"min_{quantity}_{unit}", -np.inf)
        high = column(frame, f"max_{quantity}_{unit}", np.inf)
        limits[f"{quantity}_min"], limits[f"{quantity}_max"] = (
            (-high, -low) if load else (low, high)
        )
    return limits


def _controllable(frame: Any, *, missing: bool) -> Bools:
    """Whether an optimal power flow may move the elements; pandapower has it as any type."""
    if "controllable" not in frame:
        return np.full(len(frame), missing)
    return np.array(
        [
            missing if value is None or value != value else bool(value)
            for value in frame.controllable
        ]
    )


def _ext_grids(model: Model, first: int) -> list[Units]:
    table = model.net.ext_grid
    size = len(table)
    angle = np.deg2rad(column(table, "va_degree", 0.0))
    return [
        _units(
            model,
            "ext_grid",
            table,
            first + np.arange(size),
            table.bus,
            controls_voltage=np.ones(size, dtype=bool),
            is_reference=np.ones(size, dtype=bool),
            va_reference=angle if model.options["calculate_voltage_angles"] else 0.0 * angle,
            slack_weight=column(table, "slack_weight", 1.0),
            dispatchable=np.ones(size, dtype=bool),
            v_set=column(table, "vm_pu", np.nan),
            **_limits(table, load=False),
        )
    ]


def _gens(model: Model, first: int) -> list[Units]:
    table = model.net.gen.iloc[: model.n_gen]
    size = len(table)
    if not size:
        return []
    slack = table.slack.to_numpy(dtype=bool)
    return [
        _units(
            model,
            "gen",
            table,
            first + np.arange(size),
            table.bus,
            controls_voltage=np.ones(size, dtype=bool),
            is_reference=slack,
            va_reference=np.where(slack, _angle_held(model, table.bus), 0.0),
            slack_weight=column(table, "slack_weight", 0.0),
            dispatchable=_controllable(table, missing=True),
            p=column(table, "p_mw", np.nan) * column(table, "scaling", 1.0),
            v_set=column(table, "vm_pu", np.nan),
            **_limits(table, load=False),
        )
    ]


def _angle_held(model: Model, bus: Any) -> Floats:
    """Angle (rad) that external grids in service impose at the substations of ``bus``."""
    grid = model.net.ext_grid
    angle = np.zeros(model.rows.size)
    if len(grid) and model.options["calculate_voltage_angles"]:
        on = grid.in_service.to_numpy(dtype=bool) & model.bus_in_service(grid.bus)
        angle[model.substation_of(grid.bus)[on]] = column(grid, "va_degree", 0.0)[on]
    return np.deg2rad(angle[model.substation_of(bus)])


def _dclines(model: Model, first: int) -> list[Units]:
    """Two generators for each DC line, its to end first, as pandapower makes them."""
    table = model.net.gen.iloc[model.n_gen :]
    size = len(table)
    return [
        _units(
            model,
            "dcline",
            table,
            first + np.repeat(np.arange(size // 2), 2),
            table.bus,
            controls_voltage=np.ones(size, dtype=bool),
            p=column(table, "p_mw", np.nan),
            v_set=column(table, "vm_pu", np.nan),
            **_limits(table, load=False),
        )
    ]


def _constant_power(table: str) -> Callable[[Model, int], list[Units]]:
    """Builder of loads, static generators, storages, and the sum of asymmetric phases."""

    def build(model: Model, first: int) -> list[Units]:
        frame = model.net[table]
        is_load = not table.endswith("sgen")
        if table.startswith("asymmetric"):
            p = sum(column(frame, f"p_{phase}_mw", np.nan) for phase in "abc")
            q = sum(column(frame, f"q_{phase}_mvar", np.nan) for phase in "abc")
        else:
            p, q = column(frame, "p_mw", np.nan), column(frame, "q_mvar", np.nan)
        scale = column(frame, "scaling", 1.0) * (-1.0 if is_load else 1.0)
        return [
            _units(
                model,
                table,
                frame,
                first + np.arange(len(frame)),
                frame.bus,
                p=p * scale,
                q=q * scale,
                share=_shares(model, frame.bus),
                dispatchable=_controllable(frame, missing=False),
                **_limits(frame, load=is_load),
            )
        ]

    return build


def _shares(model: Model, bus: Any) -> Floats:
    """ZIP shares as pandapower solves them.

    It averages the percentages of the loads in service at a bus, and applies the mean to the
    sum of all constant-power elements there, generation included.
    """
    return model.zip_share[:, model.substation_of(bus)].T


def _motors(model: Model, first: int) -> list[Units]:
    table = model.net.motor
    used = column(table, "loading_percent", 100.0) / 100.0 * column(table, "scaling", 1.0)
    p = column(table, "pn_mech_mw", np.nan) / column(table, "efficiency_percent", 100.0) * 100.0
    q = p * np.sqrt(np.maximum(column(table, "cos_phi", np.nan) ** -2 - 1.0, 0.0))
    return [
        _units(
            model,
            "motor",
            table,
            first + np.arange(len(table)),
            table.bus,
            p=-p * used,
            q=-np.abs(q * used),
            share=_shares(model, table.bus),
        )
    ]


def _shunts(model: Model, first: int) -> list[Units]:
    table = model.net.shunt
    vn_bus = model.vn_kv[model.substation_of(table.bus)]
    nominal = model.net.bus.vn_kv.loc[table.bus].to_numpy()
    vn = column(table, "vn_kv", np.nan)
    factor = (vn_bus / np.where(np.isnan(vn), nominal, vn)) ** 2
    p, q = (column(table, key, 0.0) * column(table, "step", 1.0) for key in ("p_mw", "q_mvar"))
    tabular = column(table, "step_dependency_table", 0.0) > 0.0
    if tabular.any():
        p[tabular], q[tabular] = _from_characteristic(model, table[tabular])
    return [
        _units(
            model,
            "shunt",
            table,
            first + np.arange(len(table)),
            table.bus,
            p=-p * factor,
            q=-q * factor,
            share=np.tile([0.0, 0.0, 1.0, 1.0], (len(table), 1)),
        )
    ]


def _from_characteristic(model: Model, table: Any) -> tuple[Floats, Floats]:
    """P and Q (MW, Mvar at nominal voltage) of shunts that follow a step table; 0 off the table."""
    rows = model.net.shunt_characteristic_table
    keys = list(zip(rows.id_characteristic, rows.step, strict=True))
    power = dict(zip(keys, zip(rows.p_mw, rows.q_mvar, strict=True), strict=True))
    wanted = zip(table.id_characteristic_table, table.step, strict=True)
    found = np.array([power.get((k, step), (0.0, 0.0)) for k, step in wanted], dtype=np.float64)
    return np.nan_to_num(found[:, 0]), np.nan_to_num(found[:, 1])


def _wards(model: Model, first: int) -> list[Units]:
    return _ward_parts(model, "ward", first)


def _ward_parts(model: Model, table: str, first: int) -> list[Units]:
    """The constant-power and the constant-impedance unit of (extended) wards."""
    frame = model.net[table]
    element = first + np.arange(len(frame))
    constant = _units(
        model,
        table,
        frame,
        element,
        frame.bus,
        p=-column(frame, "ps_mw", np.nan),
        q=-column(frame, "qs_mvar", np.nan),
        share=_shares(model, frame.bus),
        slack_weight=column(frame, "slack_weight", 0.0),
    )
    impedance = _units(
        model,
        table,
        frame,
        element,
        frame.bus,
        p=-column(frame, "pz_mw", np.nan),
        q=-column(frame, "qz_mvar", np.nan),
        share=np.tile([0.0, 0.0, 1.0, 1.0], (len(frame), 1)),
    )
    return [constant, impedance]


def _xwards(model: Model, first: int) -> list[Units]:
    """As a ward, plus the source behind its impedance, which holds the star point's voltage."""
    frame = model.net.xward
    start, stop = model.branch_rows["xward"]
    source = _units(
        model,
        "xward",
        frame,
        first + np.arange(len(frame)),
        frame.bus,
        substation=model.to_substation[start:stop],
        controls_voltage=np.ones(len(frame), dtype=bool),
        v_set=column(frame, "vm_pu", np.nan),
    )
    return [*_ward_parts(model, "xward", first), source]


def _loops(loops: Branches) -> Units:
    """Branches inside one substation: only their shunt admittance matters, as in pandapower."""
    y_ff, y_ft, y_tf, y_tt = loops.y.T
    with np.errstate(all="ignore"):
        y_from = y_ff - y_ft * y_tf / y_tt  # the other end open
        y_to = y_tt - y_ft * y_tf / y_ff
    y = np.where(
        loops.from_on & loops.to_on, loops.y.sum(axis=1), np.where(loops.from_on, y_from, y_to)
    )
    size = y.size
    return Units(
        element=loops.element,
        kind=np.full(size, "shunt"),
        substation=loops.from_substation,
        on=loops.closed & (loops.from_on | loops.to_on),
        controls_voltage=np.zeros(size, dtype=bool),
        is_reference=np.zeros(size, dtype=bool),
        va_reference=np.zeros(size),
        slack_weight=np.zeros(size),
        dispatchable=np.zeros(size, dtype=bool),
        p=-y.real,
        q=y.imag,
        v_set=np.full(size, np.nan),
        p_min=np.full(size, -np.inf),
        p_max=np.full(size, np.inf),
        q_min=np.full(size, -np.inf),
        q_max=np.full(size, np.inf),
        share=np.tile([0.0, 0.0, 1.0, 1.0], (size, 1)),
    )
