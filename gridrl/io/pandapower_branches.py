"""Branches of a pandapower net: which two-ports, where, how switched and how strong.

Parameters come from `gridrl.io.pandapower_ppc`; this file adds switches and ratings.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from gridrl.grid import Bools, Complexes, Floats, Ints
from gridrl.io.pandapower_ppc import Model

BRANCH_TABLES = ("line", "trafo", "trafo3w", "impedance", "xward", "switch")


@dataclass(frozen=True, eq=False, kw_only=True)
class Branches:
    """Branch columns of a `Grid` and of its `Topology`."""

    element: Ints  # [n_branch]
    from_substation: Ints  # [n_branch]
    to_substation: Ints  # [n_branch]
    y: Complexes  # [n_branch, 4] y_ff, y_ft, y_tf, y_tt in p.u.
    b_dc: Floats  # [n_branch] p.u.
    shift_dc: Floats  # [n_branch] rad
    i_max_from: Floats  # [n_branch] p.u., np.inf where unlimited or unknown
    i_max_to: Floats  # [n_branch] p.u.
    s_max: Floats  # [n_branch] p.u.
    closed: Bools  # [n_branch] in service
    from_on: Bools  # [n_branch] from end connected
    to_on: Bools  # [n_branch] to end connected

    def take(self, mask: Bools) -> "Branches":
        return Branches(**{item.name: getattr(self, item.name)[mask] for item in fields(self)})


def impedance_switches(net: Any) -> Any:
    """Rows of ``net.switch`` that are bus-bus switches with an impedance, open or closed."""
    return net.switch[(net.switch.et == "b") & (net.switch.z_ohm > 0)]


def build_branches(model: Model, first: dict[str, int]) -> Branches:
    """All branches; ``first`` is the index of each table's first element."""
    builders: dict[str, Callable[[Model, int], Branches]] = {
        "line": _lines,
        "trafo": _trafos,
        "trafo3w": _trafos3w,
        "impedance": _impedances,
        "xward": _xwards,
        "switch": _switches,
    }
    parts = [
        builders[table](model, first[table]) for table in BRANCH_TABLES if len(_rows(model, table))
    ]
    if not parts:
        parts = [_switches(model, 0)]  # no branch at all: empty arrays of the right shapes
    return Branches(
        **{
            item.name: np.concatenate([getattr(part, item.name) for part in parts])
            for item in fields(Branches)
        }
    )


def _rows(model: Model, table: str) -> Any:
    return impedance_switches(model.net) if table == "switch" else model.net[table]


def _from_ppc(model: Model, table: str, **own: Any) -> Branches:
    rows = slice(*model.branch_rows[table])
    size = rows.stop - rows.start
    unlimited = np.full(size, np.inf)
    columns = {
        "from_substation": model.from_substation[rows],
        "to_substation": model.to_substation[rows],
        "y": model.y[:, rows].T,
        "b_dc": model.b_dc[rows],
        "shift_dc": model.shift_dc[rows],
        "i_max_from": unlimited,
        "i_max_to": unlimited,
        "s_max": unlimited,
        "from_on": np.ones(size, dtype=bool),
        "to_on": np.ones(size, dtype=bool),
    }
    return Branches(**(columns | own))


def _end_on(model: Model, table: str, et: str, column: str, *, else_side: str = "") -> Bools:
    """Whether an end has a bus in service and no open switch.

    A switch whose bus is not an end of its element acts, as in pandapower, on ``else_side``.
    """
    frame, switch = model.net[table], model.net.switch
    on = model.bus_in_service(frame[column])
    opened = switch[(switch.et == et) & ~switch.closed.to_numpy(dtype=bool)]
    position = frame.index.get_indexer(opened.element)
    here = frame[column].to_numpy()[position] == opened.bus.to_numpy()
    if else_side == column:
        other = "to_bus" if table == "line" else "hv_bus"
        here |= frame[other].to_numpy()[position] != opened.bus.to_numpy()
    on[position[here & (position >= 0)]] = False
    return on


def _i_max(model: Model, limit_ka: Any, substation: Ints) -> Floats:
    """Rating in p.u. of the base current at each end; unknown and zero mean unlimited."""
    limit = np.asarray(limit_ka, dtype=np.float64)
    base_ka = model.net.sn_mva / (np.sqrt(3.0) * model.vn_kv[substation])
    with np.errstate(all="ignore"):
        return np.where(limit > 0.0, limit / base_ka, np.inf)


def _float(frame: Any, column: str) -> Floats:
    return np.asarray(frame[column].to_numpy(dtype=np.float64, na_value=np.nan))


def _lines(model: Model, first: int) -> Branches:
    line = model.net.line
    rows = slice(*model.branch_rows["line"])
    limit_ka = _float(line, "max_i_ka") * _float(line, "df") * _float(line, "parallel")
    from_on = _end_on(model, "line", "l", "from_bus", else_side="from_bus")
    to_on = _end_on(model, "line", "l", "to_bus")
    return _from_ppc(
        model,
        "line",
        element=first + np.arange(len(line)),
        i_max_from=_i_max(model, limit_ka, model.from_substation[rows]),
        i_max_to=_i_max(model, limit_ka, model.to_substation[rows]),
        closed=line.in_service.to_numpy(dtype=bool) & _both_if_asked(model, from_on, to_on),
        from_on=from_on,
        to_on=to_on,
    )


def _both_if_asked(model: Model, from_on: Bools, to_on: Bools) -> Bools:
    """All true, unless the net wants branches with an open switch to be left out."""
    if model.options["neglect_open_switch_branches"]:
        return from_on & to_on
    return np.ones(from_on.size, dtype=bool)


def _ratings(
    model: Model, rows: slice, end: str, sn_mva: Floats, vn_kv: Floats
) -> tuple[Floats, Floats]:
    """Current and power rating of a transformer end, one of them unlimited.

    pandapower rates by current (sn over the transformer's own voltage) unless the net's
    ``user_pf_options`` say ``trafo_loading="power"``.
    """
    if model.options["trafo_loading"] == "power":
        power = np.where(sn_mva > 0.0, sn_mva / model.net.sn_mva, np.inf)
        return np.full(sn_mva.size, np.inf), power
    substation = (model.from_substation if end == "from" else model.to_substation)[rows]
    with np.errstate(all="ignore"):
        limit_ka = sn_mva / (np.sqrt(3.0) * vn_kv)
    return _i_max(model, limit_ka, substation), np.full(sn_mva.size, np.inf)


def _trafos(model: Model, first: int) -> Branches:
    trafo = model.net.trafo
    rows = slice(*model.branch_rows["trafo"])
    sn_mva = _float(trafo, "sn_mva") * _float(trafo, "parallel") * _float(trafo, "df")
    i_hv, s_max = _ratings(model, rows, "from", sn_mva, _float(trafo, "vn_hv_kv"))
    i_lv, _ = _ratings(model, rows, "to", sn_mva, _float(trafo, "vn_lv_kv"))
    from_on = _end_on(model, "trafo", "t", "hv_bus")
    to_on = _end_on(model, "trafo", "t", "lv_bus", else_side="lv_bus")
    # pandapower keeps a line alive beside a dead bus, but not a transformer
    alive = model.bus_in_service(trafo.hv_bus) & model.bus_in_service(trafo.lv_bus)
    alive &= trafo.in_service.to_numpy(dtype=bool)
    return _from_ppc(
        model,
        "trafo",
        element=first + np.arange(len(trafo)),
        i_max_from=i_hv,
        i_max_to=i_lv,
        s_max=s_max,
        closed=trafo.in_service.to_numpy(dtype=bool)
        & alive
        & _both_if_asked(model, from_on, to_on),
        from_on=from_on,
        to_on=to_on,
    )


def _trafos3w(model: Model, first: int) -> Branches:
    """Three legs for each transformer: all hv legs, then all mv legs, then all lv legs."""
    trafo = model.net.trafo3w
    rows = slice(*model.branch_rows["trafo3w"])
    size, sides = len(trafo), ("hv", "mv", "lv")
    on = {side: _end_on(model, "trafo3w", "t3", f"{side}_bus") for side in sides}
    alive = {side: model.bus_in_service(trafo[f"{side}_bus"]) for side in sides}
    sn_mva = np.concatenate([_float(trafo, f"sn_{side}_mva") for side in sides])
    vn_kv = np.concatenate([_float(trafo, f"vn_{side}_kv") for side in sides])
    hv_leg = np.arange(3 * size) < size
    i_from, s_max = _ratings(model, rows, "from", sn_mva, vn_kv)
    i_to, _ = _ratings(model, rows, "to", sn_mva, vn_kv)
    terminal_on = np.concatenate([on[side] for side in sides])
    return _from_ppc(
        model,
        "trafo3w",
        element=first + np.tile(np.arange(size), 3),
        i_max_from=np.where(hv_leg, i_from, np.inf),
        i_max_to=np.where(hv_leg, np.inf, i_to),
        s_max=s_max,
        closed=np.tile(trafo.in_service.to_numpy(dtype=bool), 3)
        & np.concatenate([alive[side] for side in sides])
        & _both_if_asked(model, terminal_on, terminal_on),
        from_on=np.where(hv_leg, terminal_on, True),
        to_on=np.where(hv_leg, True, terminal_on),
    )


def _impedances(model: Model, first: int) -> Branches:
    table = model.net.impedance
    from_on, to_on = model.bus_in_service(table.from_bus), model.bus_in_service(table.to_bus)
    return _from_ppc(
        model,
        "impedance",
        element=first + np.arange(len(table)),
        closed=table.in_service.to_numpy(dtype=bool) & from_on & to_on,
        from_on=from_on,
        to_on=to_on,
    )


def _xwards(model: Model, first: int) -> Branches:
    table = model.net.xward
    on = model.bus_in_service(table.bus)
    return _from_ppc(
        model,
        "xward",
        element=first + np.arange(len(table)),
        closed=table.in_service.to_numpy(dtype=bool) & on,
        from_on=on,
    )


def _switches(model: Model, first: int) -> Branches:
    """Bus-bus switches with an impedance, ``switch_rx_ratio`` as in ``runpp``."""
    table = impedance_switches(model.net)
    from_substation = model.substation_of(table.bus)
    to_substation = model.substation_of(table.element)
    rx = model.options["switch_rx_ratio"]
    base_ohm = model.vn_kv[from_substation] ** 2 / model.net.sn_mva
    z = _float(table, "z_ohm") / base_ohm * (rx + 1j) / np.sqrt(1.0 + rx**2)
    from_on, to_on = model.bus_in_service(table.bus), model.bus_in_service(table.element)
    unlimited = np.full(len(table), np.inf)
    limit_ka = _float(table, "in_ka") if "in_ka" in table else unlimited
    return Branches(
        element=first + np.arange(len(table)),
        from_substation=from_substation,
        to_substation=to_substation,
        y=np.stack([1 / z, -1 / z, -1 / z, 1 / z], axis=1),
        b_dc=1 / z.imag,
        shift_dc=np.zeros(len(table)),
        i_max_from=_i_max(model, limit_ka, from_substation),
        i_max_to=_i_max(model, limit_ka, to_substation),
        s_max=unlimited,
        closed=table.closed.to_numpy(dtype=bool) & from_on & to_on,
        from_on=from_on,
        to_on=to_on,
    )
