"""A case while it is edited: writeable copies of what edits may change, frozen again at the end.

It knows elements and quantities, not how a user writes them (`gridrl.whatif.edits`).
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from gridrl.case import Case
from gridrl.edit import LOAD_KINDS
from gridrl.errors import ElementError, StudyError
from gridrl.grid import Bools, Grid, Injection, Topology
from gridrl.whatif.places import (
    area_of_substation,
    find_substation,
    nearest,
    outer_terminals,
    terminals_at,
    winding_terminal,
)

GENERATION_KINDS = frozenset({"gen", "generator", "sgen", "asymmetric_sgen"})
STORAGE_KINDS = frozenset({"storage", "battery"})
TRANSFORMER_KINDS = frozenset({"trafo", "trafo3w"})
_UNIT_SUSPECT = 10.0  # times the load of the whole grid: kW were meant
_MVA = 1e-6  # MW: a set point at a limit, after its way through decimals, is within it


class Draft:
    """What `apply_edits` works on; every method changes it, and answers with what it touched."""

    def __init__(self, case: Case) -> None:
        grid = case.grid
        self._case = case
        self._grid: Grid = grid
        self._closed = case.topology.closed[0].copy()
        self._busbar = case.topology.busbar[0].copy()
        self._p = case.injection.p[0].copy()
        self._q = case.injection.q[0].copy()
        self._v = case.injection.v_set[0].copy()
        self._notes: list[str] = []
        self._topology_changed = self._injection_changed = False

    def case(self) -> Case:
        """The edited case; parts that no edit touched are those of the original."""
        topology, injection = self._case.topology, self._case.injection
        if self._topology_changed:
            topology = Topology(busbar=self._busbar[None], closed=self._closed[None])
        if self._injection_changed:
            injection = Injection(p=self._p[None], q=self._q[None], v_set=self._v[None])
        return replace(
            self._case, grid=self._grid, topology=topology, injection=injection,
            notes=(*self._case.notes, *self._notes),
        )  # fmt: skip

    # --- in and out of service ------------------------------------------------------------------
    def take_out(self, name: str) -> int:
        """Open every branch of an element, and take its units off their busbars."""
        element, branch, unit = self._members(name)
        on = (self._busbar[2 * self._grid.n_branch :] > 0) & unit
        if not (self._closed[branch].any() or on.any()):
            raise StudyError(f"{self._label(element)} is out of service already. Leave it out.")
        self._closed[branch] = False
        self._busbar[2 * self._grid.n_branch :][unit] = 0
        self._topology_changed = True
        return element

    def put_in(self, name: str) -> int:
        """Close every branch and end of an element, and put its units on busbar 1."""
        element, branch, unit = self._members(name)
        terminal = np.concatenate([branch, branch, unit])
        missing = terminal & (self._busbar == 0)
        if self._closed[branch].all() and not missing.any():
            raise StudyError(f"{self._label(element)} is in service already. Leave it out.")
        self._closed[branch] = True
        self._busbar[missing] = 1
        self._topology_changed = True
        return element

    # --- busbars --------------------------------------------------------------------------------
    def split(self, bus: str, busbar2: Sequence[str]) -> int:
        """Put the listed terminals of a substation on busbar 2 and all its others on busbar 1."""
        grid = self._grid
        substation = find_substation(grid, bus)
        label = grid.substation_label[substation]
        listed: list[int] = []
        for text in busbar2:
            for terminal in terminals_at(grid, substation, text).tolist():
                if terminal in listed:
                    raise StudyError(f"busbar2 of bus {label} lists {text} twice. Leave one out.")
                if self._busbar[terminal] == 0:
                    raise StudyError(
                        f"{text} is disconnected at bus {label}, so it has no busbar to go to. "
                        "Close it first, or leave it out."
                    )
                listed.append(terminal)
        here = np.flatnonzero((grid.terminal_substation == substation) & (self._busbar > 0))
        if len(listed) == here.size:
            raise StudyError(
                f"busbar2 lists every connected terminal of bus {label} ({here.size}), so nothing "
                "is split. Leave at least one on busbar 1."
            )
        self._busbar[here] = 1
        self._busbar[listed] = 2
        self._topology_changed = True
        return substation

    def merge(self, bus: str) -> int:
        """Put every terminal of a substation on busbar 1."""
        grid = self._grid
        substation = find_substation(grid, bus)
        second = (grid.terminal_substation == substation) & (self._busbar == 2)
        if not second.any():
            label = grid.substation_label[substation]
            raise StudyError(f"Bus {label} is not split, so there is nothing to merge.")
        self._busbar[second] = 1
        self._topology_changed = True
        return substation

    # --- powers ---------------------------------------------------------------------------------
    def scale_load(self, factor: float, area: str, kind: str, name: str) -> int | None:
        """Multiply active and reactive power of loads; None where no single element is meant."""
        which, element = self._chosen(LOAD_KINDS, area, kind, name, "load")
        self._p[which] *= factor
        self._q[which] *= factor
        self._injection_changed = True
        return element

    def scale_generation(self, factor: float, area: str, kind: str, name: str) -> int | None:
        """Multiply the active power of generation; what balances the grid stays free."""
        grid = self._grid
        which, element = self._chosen(
            GENERATION_KINDS, area, kind, name, "generation", grid.is_reference
        )
        self._p[which] *= factor
        beyond = which & (self._p > grid.p_max + _MVA) & (self._busbar[2 * grid.n_branch :] > 0)
        if beyond.any():
            names = ", ".join(grid.unit_label[int(m)] for m in np.flatnonzero(beyond)[:5])
            self._notes.append(
                f"Scaled by {factor:g}, {beyond.sum()} generators are above their maximum: {names}"
                + (", ..." if beyond.sum() > 5 else ".")
            )
        self._injection_changed = True
        return element

    def set_load(self, name: str, p_mw: float, q_mvar: float) -> int:
        """Set what a load draws, MW and MVAr; NaN keeps the present value."""
        element, m = self._single(name, LOAD_KINDS, "a load")
        base = self._grid.s_base_mva
        for key, value, power in (("p_mw", p_mw, self._p), ("q_mvar", q_mvar, self._q)):
            if not math.isnan(value):
                self._plausible(element, key, value)
                power[m] = -value / base
        self._injection_changed = True
        return element

    def shed(self, name: str, p_mw: float) -> int:
        """Leave ``p_mw`` of a load; its reactive power shrinks alike."""
        element, m = self._single(name, LOAD_KINDS, "a load")
        base = self._grid.s_base_mva
        now = -self._p[m] * base
        self._at_most(element, "draws", p_mw, now)
        self._q[m] *= p_mw / now if now > 0 else 1.0
        self._p[m] = -p_mw / base
        self._injection_changed = True
        return element

    def redispatch(self, name: str, p_mw: float) -> int:
        """Set what a generator feeds in, within its limits."""
        element, m = self._single(name, GENERATION_KINDS, "a generator")
        self._not_reference(element, m)
        base = self._grid.s_base_mva
        low, high = self._grid.p_min[m] * base, self._grid.p_max[m] * base
        if not low - _MVA <= p_mw <= high + _MVA:
            raise StudyError(
                f"{self._label(element)} cannot feed in {p_mw:g} MW: its limits are {low:g} and "
                f"{high:g} MW."
            )
        self._plausible(element, "p_mw", p_mw)
        self._p[m] = p_mw / base
        self._injection_changed = True
        return element

    def curtail(self, name: str, p_mw: float) -> int:
        """Leave ``p_mw`` of what a generator feeds in."""
        element, m = self._single(name, GENERATION_KINDS, "a generator")
        self._not_reference(element, m)
        self._at_most(element, "feeds in", p_mw, self._p[m] * self._grid.s_base_mva)
        self._p[m] = p_mw / self._grid.s_base_mva
        self._injection_changed = True
        return element

    def charge(self, name: str, p_mw: float) -> int:
        """Set what a storage takes from the grid; negative discharges it."""
        element, m = self._single(name, STORAGE_KINDS, "a storage")
        base = self._grid.s_base_mva
        low, high = -self._grid.p_max[m] * base, -self._grid.p_min[m] * base
        if not low - _MVA <= p_mw <= high + _MVA:
            raise StudyError(
                f"{self._label(element)} cannot charge at {p_mw:g} MW: its limits are {low:g} "
                f"(discharging) and {high:g} MW."
            )
        self._plausible(element, "p_mw", p_mw)
        self._p[m] = -p_mw / base
        self._injection_changed = True
        return element

    # --- voltages -------------------------------------------------------------------------------
    def hold(self, name: str, vm_pu: float) -> int:
        """Set the voltage that a generator holds at its bus."""
        element, _, unit = self._members(name)
        grid = self._grid
        holds = unit & (grid.controls_voltage | grid.is_reference)
        label = self._label(element)
        if not holds.any():
            raise StudyError(f"{label} holds no voltage, so it has no set point.")
        if holds.sum() > 1:
            raise StudyError(f"{label} holds a voltage at both of its ends; this sets one only.")
        m = int(np.flatnonzero(holds)[0])
        if self._busbar[2 * grid.n_branch + m] == 0:
            raise StudyError(f"{label} is out of service, so it holds no voltage. Leave it out.")
        self._v[m] = vm_pu
        self._injection_changed = True
        return element

    def switch_shunt(self, name: str, step: int) -> int:
        """Switch this many steps of a shunt on."""
        grid, steps = self._grid, self._grid.steps
        element, _, unit = self._members(name)
        at = np.flatnonzero(unit[steps.shunt_unit])
        label = self._label(element)
        if not at.size:
            raise StudyError(f"The file states no steps for {label}, so none can be switched.")
        k = int(at[0])
        most = int(steps.shunt_most[k])
        if step > most:
            raise StudyError(f"{label} has {most} steps, so {step} cannot be on.")
        m = int(steps.shunt_unit[k])
        self._p[m], self._q[m] = step * steps.shunt_p[k], step * steps.shunt_q[k]
        on = steps.shunt_step.copy()
        on[k] = step
        self._grid = replace(grid, steps=replace(steps, shunt_step=on))
        self._injection_changed = True
        return element

    # --- what is built --------------------------------------------------------------------------
    def rate(self, name: str, share: float) -> int:
        """Multiply the ratings of every branch of an element."""
        element, branch, _ = self._members(name)
        grid = self._grid
        rated = np.isfinite(np.stack([grid.i_max_from, grid.i_max_to, grid.s_max])).any(axis=0)
        if not (branch & rated).any():
            raise StudyError(f"{self._label(element)} has no rating that could be changed.")
        factor = np.where(branch, share, 1.0)
        self._grid = replace(
            grid, i_max_from=grid.i_max_from * factor, i_max_to=grid.i_max_to * factor,
            s_max=grid.s_max * factor,
        )  # fmt: skip
        return element

    def tap(self, text: str, ratio: float) -> int:
        """Multiply the turns ratio of a transformer, seen from its first winding or ``@side``."""
        grid = self._grid
        name, _, side = text.partition("@")
        element = grid.find_element(name)
        if grid.element_kind[element] not in TRANSFORMER_KINDS:
            raise StudyError(f"{self._label(element)} is no transformer, so it has no tap.")
        outer = outer_terminals(grid, element)
        if len(outer) > 2 and not side:
            raise StudyError(
                f"{self._label(element)} has {len(outer)} windings. Say which: {name}@hv, @mv, @lv."
            )
        terminal = winding_terminal(grid, element, side or "hv")
        self._grid = with_ratio(grid, terminal, ratio)
        return terminal

    def move_tap(self, name: str, position: int) -> int:
        """Move a tap changer to a position of its range."""
        element, branch, _ = self._members(name)
        steps = self._grid.steps
        at = np.flatnonzero(branch[steps.tap_branch])
        label = self._label(element)
        if self._grid.element_kind[element] not in TRANSFORMER_KINDS:
            raise StudyError(f"{label} is no transformer, so it has no tap.")
        if not at.size:
            raise StudyError(
                f"The file states no tap positions for {label}. Write ratio_percent instead."
            )
        k = int(at[0])
        low, high = int(steps.tap_low[k]), int(steps.tap_high[k])
        if not low <= position <= high:
            raise StudyError(f"{label} has tap positions {low} to {high}, so {position} is none.")
        wanted = 1.0 + (position - int(steps.tap_neutral[k])) * float(steps.tap_size[k])
        terminal = int(steps.tap_branch[k] + self._grid.n_branch * steps.tap_at_to[k])
        self._grid = with_ratio(self._grid, terminal, wanted / float(steps.tap_ratio[k]))
        return terminal

    # --- who is meant ---------------------------------------------------------------------------
    def _label(self, element: int) -> str:
        return self._grid.element_label[element]

    def _members(self, name: str) -> tuple[int, Bools, Bools]:
        element = self._grid.find_element(name)
        return element, self._grid.branch_element == element, self._grid.unit_element == element

    def _single(self, name: str, kinds: Collection[str], what: str) -> tuple[int, int]:
        """An element of these kinds and its one unit, which must be connected."""
        element, _, unit = self._members(name)
        label = self._label(element)
        units = np.flatnonzero(unit)
        if self._grid.element_kind[element] not in kinds or units.size != 1:
            raise StudyError(f"{label} is not {what}.")
        m = int(units[0])
        if self._busbar[2 * self._grid.n_branch + m] == 0:
            raise StudyError(
                f"{label} is out of service, so its power means nothing. Close it first, or "
                "leave it out."
            )
        return element, m

    def _chosen(
        self, kinds: Collection[str], area: str, kind: str, name: str, what: str,
        never: Bools | None = None,
    ) -> tuple[Bools, int | None]:  # fmt: skip
        """[n_unit] units that a scaling means."""
        grid = self._grid
        present = sorted(set(grid.unit_kind) & set(kinds))
        never = np.zeros(grid.n_unit, np.bool_) if never is None else never
        if name:
            element, m = self._single(name, kinds, f"a {what}" if what == "load" else what)
            if never[m]:
                self._not_reference(element, m)
            return np.arange(grid.n_unit) == m, element
        if kind and kind not in present:
            raise ElementError(
                f"{grid.name} has no {what} of kind '{kind}'. {nearest(kind, present)}"
            )
        wanted = {kind} if kind else set(present)
        which = np.array([k in wanted for k in grid.unit_kind], np.bool_) & ~never
        if area:
            which &= area_of_substation(grid, area)[grid.unit_substation]
        if not which.any():
            place = f" in area {area}" if area else ""
            raise StudyError(f"There is no {what}{place} in {grid.name} that could be scaled.")
        return which, None

    def _not_reference(self, element: int, m: int) -> None:
        if self._grid.is_reference[m]:
            raise StudyError(
                f"{self._label(element)} balances the grid: its power follows from all others. "
                "Change another generator."
            )

    def _at_most(self, element: int, does: str, p_mw: float, now: float) -> None:
        if p_mw > now + _MVA:
            raise StudyError(
                f"{self._label(element)} {does} {now:g} MW, so {p_mw:g} MW cannot remain of it."
            )

    def _plausible(self, element: int, key: str, value: float) -> None:
        """Refuse what can only be a mistake in the unit."""
        is_load = np.array([kind in LOAD_KINDS for kind in self._grid.unit_kind], np.bool_)
        total = float(np.abs(self._case.injection.p[0][is_load]).sum()) * self._grid.s_base_mva
        if total > 0 and abs(value) > _UNIT_SUSPECT * total:
            raise StudyError(
                f"{key} = {value:g} for {self._label(element)} is {abs(value) / total:.0f} times "
                f"the load of the whole grid ({total:.0f} MW). Powers are in MW and MVAr, not kW."
            )


def with_ratio(grid: Grid, terminal: int, ratio: float) -> Grid:
    """The grid with the turns ratio at one branch end multiplied.

    With an ideal transformer 1:``ratio`` in series at end f, ``y_ff`` becomes ``y_ff / t^2``
    and the transfer admittances are divided by ``t``; the impedance stays.
    """
    k, at_to = terminal % grid.n_branch, terminal >= grid.n_branch
    y = {key: getattr(grid, key).copy() for key in ("y_ff", "y_ft", "y_tf", "y_tt", "b_dc")}
    y["y_tt" if at_to else "y_ff"][k] /= ratio**2
    for key in ("y_ft", "y_tf", "b_dc"):
        y[key][k] /= ratio
    steps = grid.steps
    here = (steps.tap_branch == k) & (steps.tap_at_to == at_to)
    now = np.where(here, steps.tap_ratio * ratio, steps.tap_ratio)
    return replace(grid, **y, steps=replace(steps, tap_ratio=now))
