"""Where things of a powsybl network are: its bus view as positions, and frames as arrays.

powsybl offers two views of one network. Results live on the *bus view*, where closed switches
have merged nodes; users name buses of the *bus-breaker view* where a voltage level is described
by buses. Both appear here: every bus-view bus is one node (a substation), and the buses that the
file itself names are listed, each pointing at its node.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridrl.case import Fate, ReportRow
from gridrl.errors import GridError, offending
from gridrl.grid import Bools, Floats, Ints
from gridrl.io.assemble import Buses

S_BASE_MVA = 100.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Frame:
    """A powsybl data frame as plain columns."""

    kind: str  # what messages call its rows
    id: tuple[str, ...]  # [n]
    name: tuple[str, ...]  # [n]
    data: dict[str, NDArray[Any]]  # column -> [n]

    @classmethod
    def read(cls, kind: str, frame: Any) -> "Frame":
        data = {str(column): frame[column].to_numpy() for column in frame.columns}
        ids = tuple(str(i) for i in frame.index)
        names = data.get("name", np.array([""] * len(ids)))
        return cls(kind=kind, id=ids, name=tuple(_text(n) for n in names), data=data)

    def pick(self, keep: Bools) -> "Frame":
        """The rows that ``keep`` selects."""
        rows = [int(k) for k in np.flatnonzero(keep)]
        return Frame(
            kind=self.kind,
            id=tuple(self.id[k] for k in rows),
            name=tuple(self.name[k] for k in rows),
            data={column: value[keep] for column, value in self.data.items()},
        )

    def __len__(self) -> int:
        return len(self.id)

    def numbers(self, column: str, unit: str) -> Floats:
        """A column of numbers; refuses what is not finite, naming element, field and unit."""
        value = self.data[column].astype(float)
        bad = ~np.isfinite(value)
        if bad.any():
            raise GridError(
                f"{bad.sum()} of {len(self)} {self.kind} rows have no finite {column} ({unit}): "
                f"{offending(bad, self.id)}. Give its value in the file."
            )
        return value

    def limits(self, column: str, absent: float) -> Floats:
        """A column of limits; NaN and the format's "unlimited" (1.8e308) become ``absent``."""
        value = self.data[column].astype(float)
        return np.where(np.isnan(value) | (np.abs(value) > 1e15), absent, value)

    def texts(self, column: str) -> tuple[str, ...]:
        return tuple(_text(value) for value in self.data[column])

    def flags(self, column: str) -> Bools:
        return np.array([bool(value) for value in self.data[column]], dtype=bool)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Places:
    """Bus positions by the names powsybl uses."""

    buses: Buses
    of_bus: dict[str, int]  # bus-view id -> a bus position of that node
    of_level: dict[str, int]  # voltage level id -> a bus position in it
    component: Ints  # [n] synchronous component of every bus, -1 where it has none

    def terminal(
        self, bus_id: Sequence[str], level_id: Sequence[str]
    ) -> tuple[Ints, NDArray[np.int8]]:
        """Position of every terminal, and busbar 1, or 0 where it is disconnected."""
        at = [
            self.of_bus[bus] if bus in self.of_bus else self.of_level[level]
            for bus, level in zip(bus_id, level_id, strict=True)
        ]
        on = [1 if bus in self.of_bus else 0 for bus in bus_id]
        return np.array(at, dtype=np.int64), np.array(on, dtype=np.int8)

    def vn(self, at: Ints) -> Floats:
        """Nominal voltage in kV at bus positions."""
        return self.buses.vn_kv[at]


def _countries(network: Any, levels: Frame) -> dict[str, str]:
    """Country of every voltage level's substation, empty where the file states none."""
    substations = Frame.read("substation", network.get_substations(all_attributes=True))
    of = dict(zip(substations.id, substations.texts("country"), strict=True))
    return {
        level: of.get(substation, "")
        for level, substation in zip(levels.id, levels.texts("substation_id"), strict=True)
    }


def read_places(network: Any, rows: list[ReportRow]) -> Places:
    """Buses, voltage levels and their nominal voltages."""
    levels = Frame.read("voltage level", network.get_voltage_levels(all_attributes=True))
    nominal = dict(zip(levels.id, levels.numbers("nominal_v", "kV"), strict=True))
    bad = np.array([v <= 0 for v in nominal.values()], dtype=bool)
    if bad.any():
        raise GridError(
            f"{bad.sum()} voltage levels have no positive nominal_v (kV): "
            f"{offending(bad, levels.id)}. Give their nominal voltage."
        )
    by_bus = dict(zip(levels.id, levels.texts("topology_kind"), strict=True))
    view = Frame.read("bus", network.get_buses(all_attributes=True))
    node_of = {bus: k for k, bus in enumerate(view.id)}
    component = dict(zip(view.id, view.data["synchronous_component"].astype(int), strict=True))
    named = Frame.read("bus", network.get_bus_breaker_view_buses(all_attributes=True))
    entries: list[tuple[str, str, str, str]] = [  # id, name, voltage level, bus-view id
        entry
        for frame, merged in ((named, named.texts("bus_id")), (view, view.id))
        for entry in zip(frame.id, frame.name, frame.texts("voltage_level_id"), merged, strict=True)
        if (frame is named) == (by_bus[entry[2]] == "BUS_BREAKER")
    ]
    empty = [level for level in levels.id if level not in {entry[2] for entry in entries}]
    entries += [(level, "", level, "") for level in empty]
    own = len(view) + np.arange(len(entries))  # a bus that nothing energises is its own node
    low, high = levels.limits("low_voltage_limit", 0.0), levels.limits("high_voltage_limit", np.inf)
    country = _countries(network, levels)
    limit = {level: (low[k], high[k]) for k, level in enumerate(levels.id)}
    vn_kv = np.array([nominal[entry[2]] for entry in entries])
    buses = Buses(
        id=tuple(entry[0] for entry in entries),
        name=tuple(entry[1] for entry in entries),
        node=np.array([node_of.get(entry[3], own[k]) for k, entry in enumerate(entries)]),
        vn_kv=vn_kv,
        v_min=np.array([limit[entry[2]][0] for entry in entries]) / vn_kv,
        v_max=np.array([limit[entry[2]][1] for entry in entries]) / vn_kv,
        area=tuple(country[entry[2]] for entry in entries),
    )
    rows.append(ReportRow(fate=Fate.KEPT, kind="bus", count=len(entries), note="powsybl bus view"))
    switches = len(network.get_switches())
    if switches:
        note = "closed switches merge their nodes, as in powsybl's bus view; none can be operated"
        rows.append(ReportRow(fate=Fate.MAPPED, kind="switch", count=switches, note=note))
    of_bus: dict[str, int] = {}
    of_level: dict[str, int] = {}
    for k, entry in enumerate(entries):
        if entry[3]:
            of_bus.setdefault(entry[3], k)
        of_level.setdefault(entry[2], k)
    return Places(
        buses=buses,
        of_bus=of_bus,
        of_level=of_level,
        component=np.array([component.get(entry[3], -1) for entry in entries], dtype=np.int64),
    )


def without_short_lines(
    places: Places, lines: Frame, rows: list[ReportRow]
) -> tuple[Places, Frame]:
    """Lines without impedance become merged nodes; lines within one node are left out."""
    if not len(lines):
        return places, lines
    ends = [
        places.terminal(lines.texts(f"bus{side}_id"), lines.texts(f"voltage_level{side}_id"))
        for side in "12"
    ]
    (one, on_one), (two, on_two) = ends
    connected = (on_one > 0) & (on_two > 0)
    short = (lines.numbers("r", "ohm") == 0) & (lines.numbers("x", "ohm") == 0)
    node = places.buses.node.copy()
    for k in np.flatnonzero(short & connected):
        node[node == node[two[k]]] = node[one[k]]
    loop = ~short & (node[one] == node[two])
    for fate, kind, mask, note in (
        (Fate.MAPPED, "line without impedance", short & connected, "its two buses are one node"),
        (Fate.REFUSED, "line without impedance", short & ~connected, "open: carries nothing"),
        (Fate.REFUSED, "line within one bus", loop, "starts and ends at the same node"),
    ):
        if mask.any():
            ids = tuple(lines.id[int(k)] for k in np.flatnonzero(mask))
            row = ReportRow(fate=fate, kind=kind, count=len(ids), note=note, elements=ids)
            rows.append(row)
    merged = replace(places, buses=replace(places.buses, node=node))
    return merged, lines.pick(~short & ~loop)
