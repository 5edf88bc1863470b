"""The static description of a network, as flat read-only arrays in per unit.

A `Grid` says what is built, a `Topology` how it is switched and an `Injection` how it is
loaded. None of them holds a solver or a data frame; `gridrl.io` makes them.

Vocabulary and index sets, used as shape names throughout the package::

    n_bus         buses of the input file, by the file's own names
    n_substation  groups of buses that closed bus-bus switches join; each has busbars 1 and 2.
                  The star point of a three-winding transformer counts as one (``is_star``).
    n_branch      two-ports: lines, transformers, legs of three-winding transformers, impedances
    n_unit        whatever hangs on one busbar: loads, generators, external grids, shunts, ...
    n_element     what the user knows and can switch: a three-winding transformer is one
                  element and three branches, a DC line one element and two units
    n_terminal    2 n_branch + n_unit: all from-ends, then all to-ends, then all units
    B             batch of states that share one Grid

Signs: branch power is positive into the branch; injections are positive into the busbar (a
load is negative). Complex power is ``p + 1j q``, an admittance is ``g + 1j b``.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gridrl.arrays import Bools, Complexes, Floats, Ints, freeze
from gridrl.costs import Costs
from gridrl.errors import ElementError, GridError, offending
from gridrl.steps import Steps

__all__ = ["Bools", "Complexes", "Floats", "Grid", "Injection", "Ints", "Topology"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """A network in per unit on the base ``s_base_mva``.

    Built once by a door in `gridrl.io`, validated, copied and read-only afterwards.

    Raises
    ------
    GridError
        An array has the wrong length, an index points outside, or a value is NaN.
    """

    name: str
    s_base_mva: float
    # Buses as the user's file lists them
    bus_id: tuple[str, ...]  # [n_bus] the file's own index or name, unique
    bus_name: tuple[str, ...]  # [n_bus] free text, may repeat or be empty
    bus_substation: Ints  # [n_bus]
    bus_x: Floats  # [n_bus] horizontal position or longitude, NaN where unknown
    bus_y: Floats  # [n_bus] vertical position or latitude, NaN where unknown
    bus_area: tuple[str, ...]  # [n_bus] zone, area or country; empty where the file states none
    # Substations
    substation_name: tuple[str, ...]  # [n_substation]
    vn_kv: Floats  # [n_substation] base voltage, phase to phase
    v_min: Floats  # [n_substation] p.u., 0 where unlimited
    v_max: Floats  # [n_substation] p.u., np.inf where unlimited
    is_star: Bools  # [n_substation] inner node of an element: never reported, never split
    # Elements
    element_kind: tuple[str, ...]  # [n_element] "line", "trafo", "trafo3w", "gen", "load", ...
    element_id: tuple[str, ...]  # [n_element] the file's own index or name, unique within a kind
    element_name: tuple[str, ...]  # [n_element] free text, may repeat or be empty
    # Branches
    branch_element: Ints  # [n_branch] element that the branch is (part of)
    from_substation: Ints  # [n_branch]
    to_substation: Ints  # [n_branch]
    y_ff: Complexes  # [n_branch] p.u., i_from = y_ff v_from + y_ft v_to
    y_ft: Complexes  # [n_branch] p.u.
    y_tf: Complexes  # [n_branch] p.u., i_to = y_tf v_from + y_tt v_to
    y_tt: Complexes  # [n_branch] p.u.
    b_dc: Floats  # [n_branch] p.u. susceptance of the DC model, 1 / (x tap)
    shift_dc: Floats  # [n_branch] rad phase shift of the DC model
    i_max_from: Floats  # [n_branch] p.u. current rating at the from end, np.inf where unlimited
    i_max_to: Floats  # [n_branch] p.u. current rating at the to end, np.inf where unlimited
    s_max: Floats  # [n_branch] p.u. apparent power rating at both ends, np.inf where unlimited
    angle_min: Floats  # [n_branch] rad least va_from - va_to, -np.inf where unlimited
    angle_max: Floats  # [n_branch] rad largest va_from - va_to, np.inf where unlimited
    # Units
    unit_element: Ints  # [n_unit] element that the unit is (part of)
    unit_kind: tuple[
        str, ...
    ]  # [n_unit] "load", "gen", "ext_grid", "sgen", "storage", "shunt", ...
    unit_substation: Ints  # [n_unit]
    controls_voltage: Bools  # [n_unit] holds its node at Injection.v_set while in service
    is_reference: Bools  # [n_unit] also holds the angle and balances active power
    va_reference: Floats  # [n_unit] rad angle that a reference unit holds, 0 elsewhere
    slack_weight: Floats  # [n_unit] share in balancing P when the slack is distributed
    dispatchable: Bools  # [n_unit] an optimal power flow may choose its p and q, within limits
    p_min: Floats  # [n_unit] p.u., -np.inf where unlimited
    p_max: Floats  # [n_unit] p.u., np.inf where unlimited
    q_min: Floats  # [n_unit] p.u., -np.inf where unlimited
    q_max: Floats  # [n_unit] p.u., np.inf where unlimited
    # A unit draws p (1 - i - z + i |v| + z |v|^2), and q alike: ZIP model, shares of 0..1
    i_share_p: Floats  # [n_unit] constant-current share of p
    i_share_q: Floats  # [n_unit] constant-current share of q
    z_share_p: Floats  # [n_unit] constant-impedance share of p (1 for a shunt)
    z_share_q: Floats  # [n_unit] constant-impedance share of q
    costs: Costs
    steps: Steps = field(default_factory=Steps.none)  # tap changers, switched shunts

    def __post_init__(self) -> None:
        freeze(self, frozenset({"bus_x", "bus_y"}))
        self._check_lengths()
        for name, size, names in (
            ("bus_substation", self.n_substation, self.bus_id),
            ("from_substation", self.n_substation, self.branch_label),
            ("to_substation", self.n_substation, self.branch_label),
            ("unit_substation", self.n_substation, self.unit_label),
        ):
            index = getattr(self, name)
            bad = (index < 0) | (index >= size)
            if bad.any():
                raise GridError(
                    f"{bad.sum()} of {index.size} entries of {name} point at a substation that "
                    f"does not exist (valid: 0..{size - 1}): {offending(bad, names)}. Check the "
                    "buses that these elements name."
                )
        if ((self.costs.unit < 0) | (self.costs.unit >= self.n_unit)).any():
            raise GridError(
                f"A cost function names a unit that does not exist (valid: 0..{self.n_unit - 1})."
            )
        for index, size in (
            (self.steps.tap_branch, self.n_branch),
            (self.steps.shunt_unit, self.n_unit),
        ):
            if ((index < 0) | (index >= size)).any():
                raise GridError(f"A tap or shunt is not in the grid (valid: 0..{size - 1}).")
        short = self.from_substation == self.to_substation
        if short.any():
            raise GridError(
                f"{short.sum()} branches start and end at the same substation: "
                f"{offending(short, self.branch_label)}. Remove them or correct their buses."
            )
        if not (np.isfinite(self.s_base_mva) and self.s_base_mva > 0):
            raise GridError(
                f"s_base_mva is {self.s_base_mva}; it must be a positive number of MVA."
            )
        bad = ~(np.isfinite(self.vn_kv) & (self.vn_kv > 0))
        if bad.any():
            raise GridError(
                f"{bad.sum()} substations have no positive nominal voltage: "
                f"{offending(bad, self.substation_name)}. Set vn_kv in kV."
            )

    def _check_lengths(self) -> None:
        groups = {
            "n_bus": ("bus_id", "bus_name", "bus_substation", "bus_x", "bus_y", "bus_area"),
            "n_substation": ("substation_name", "vn_kv", "v_min", "v_max", "is_star"),
            "n_element": ("element_kind", "element_id", "element_name"),
            "n_branch": (
                "branch_element from_substation to_substation y_ff y_ft y_tf y_tt b_dc shift_dc "
                "i_max_from i_max_to s_max angle_min angle_max"
            ).split(),
            "n_unit": (
                "unit_element unit_kind unit_substation controls_voltage is_reference va_reference "
                "slack_weight dispatchable p_min p_max q_min q_max i_share_p i_share_q z_share_p "
                "z_share_q"
            ).split(),
        }
        for size_name, names in groups.items():
            size = getattr(self, size_name)
            for name in names:
                got = len(getattr(self, name))
                if got != size:
                    raise GridError(f"{name} has {got} entries but {size_name} is {size}.")

    @property
    def n_bus(self) -> int:
        return len(self.bus_id)

    @property
    def n_substation(self) -> int:
        return len(self.substation_name)

    @property
    def n_element(self) -> int:
        return len(self.element_id)

    @property
    def n_branch(self) -> int:
        return int(self.branch_element.size)

    @property
    def n_unit(self) -> int:
        return int(self.unit_element.size)

    @property
    def n_terminal(self) -> int:
        return 2 * self.n_branch + self.n_unit

    @cached_property
    def holding_unit(self) -> Ints:
        """Units that hold a voltage where they are connected."""
        return np.flatnonzero(self.controls_voltage | self.is_reference)

    @cached_property
    def terminal_substation(self) -> Ints:
        """[n_terminal] substation of every terminal: from-ends, to-ends, units."""
        return np.concatenate([self.from_substation, self.to_substation, self.unit_substation])

    @cached_property
    def substation_bus(self) -> tuple[str, ...]:
        """[n_substation] id of the first bus of the input in it; its name for a star point."""
        first = list(self.substation_name)
        for bus in range(self.n_bus - 1, -1, -1):
            first[int(self.bus_substation[bus])] = self.bus_id[bus]
        return tuple(first)

    @cached_property
    def substation_label(self) -> tuple[str, ...]:
        """[n_substation] bus id, with the name in brackets where it says more."""
        return tuple(
            f"{bus} ({name})" if name and name != bus else bus
            for bus, name in zip(self.substation_bus, self.substation_name, strict=True)
        )

    @cached_property
    def element_label(self) -> tuple[str, ...]:
        """[n_element] "kind:id", with the name in brackets where it says more."""
        return tuple(
            f"{kind}:{ident}" + (f" ({name})" if name and name != ident else "")
            for kind, ident, name in zip(
                self.element_kind, self.element_id, self.element_name, strict=True
            )
        )

    @cached_property
    def branch_label(self) -> tuple[str, ...]:
        """[n_branch] label of the element that each branch belongs to."""
        return tuple(self.element_label[int(e)] for e in self.branch_element)

    @cached_property
    def unit_label(self) -> tuple[str, ...]:
        """[n_unit] label of the element that each unit belongs to."""
        return tuple(self.element_label[int(e)] for e in self.unit_element)

    def find_element(self, text: str) -> int:
        """Index of the element that ``text`` means.

        Accepts ``kind:id`` ("line:12"), the label that tables show ("line:12 (West 3)"), a unique
        name, or a unique id.

        Raises
        ------
        ElementError
            Nothing fits (the nearest labels are named), or more than one does.
        """
        exact = self._element_by_label.get(text)
        if exact is not None:
            return exact
        hits = self._element_by_text.get(text, [])
        if len(hits) == 1:
            return hits[0]
        if hits:
            choices = ", ".join(f"{self.element_kind[e]}:{self.element_id[e]}" for e in hits[:8])
            raise ElementError(f"'{text}' fits {len(hits)} elements: {choices}. Write kind:id.")
        import difflib

        known = [*dict.fromkeys([*self._element_by_label, *self._element_by_text])]
        near = difflib.get_close_matches(text, known, n=3, cutoff=0.5)
        hint = (
            f"Did you mean {' or '.join(near)}?" if near else "`gridrl load` lists what there is."
        )
        raise ElementError(f"No element '{text}' in {self.name}. {hint}")

    @cached_property
    def _element_by_label(self) -> dict[str, int]:
        pairs = zip(self.element_kind, self.element_id, strict=True)
        shown = {label: e for e, label in enumerate(self.element_label)}
        return shown | {f"{kind}:{ident}": e for e, (kind, ident) in enumerate(pairs)}

    @cached_property
    def _element_by_text(self) -> dict[str, list[int]]:
        by_text: dict[str, list[int]] = {}
        for e, (ident, name) in enumerate(zip(self.element_id, self.element_name, strict=True)):
            for key in {ident, name} - {""}:
                by_text.setdefault(key, []).append(e)
        return by_text


@dataclass(frozen=True, eq=False, kw_only=True)
class Topology:
    """How a grid is switched, for a batch of states; the shape never changes with switching.

    A closed branch with one terminal on 0 is an open-ended line: still energised from the
    other side. A closed branch with both terminals on 0, or an open one, carries nothing.
    """

    busbar: NDArray[np.int8]  # [B, n_terminal] 0 disconnected, 1 or 2
    closed: Bools  # [B, n_branch]

    def __post_init__(self) -> None:
        freeze(self)
        if self.busbar.ndim != 2 or self.closed.ndim != 2:
            raise GridError(
                "busbar and closed must have a leading batch axis; got shapes "
                f"{self.busbar.shape} and {self.closed.shape}."
            )
        if self.busbar.shape[0] != self.closed.shape[0]:
            raise GridError(
                f"busbar holds {self.busbar.shape[0]} states but closed holds "
                f"{self.closed.shape[0]}."
            )
        if ((self.busbar < 0) | (self.busbar > 2)).any():
            raise GridError("busbar may only be 0 (disconnected), 1 or 2.")

    @property
    def batch(self) -> int:
        return int(self.busbar.shape[0])


@dataclass(frozen=True, eq=False, kw_only=True)
class Injection:
    """How a grid is loaded, for a batch of states.

    ``p`` and ``q`` are the powers at 1 p.u. voltage, positive into the busbar. For a unit that
    controls voltage ``q`` only matters once it has hit a limit or lost control.
    """

    p: Floats  # [B, n_unit] p.u.
    q: Floats  # [B, n_unit] p.u.
    v_set: Floats  # [B, n_unit] p.u., NaN where the unit does not control voltage

    def __post_init__(self) -> None:
        freeze(self, frozenset({"v_set"}))
        if self.p.ndim != 2 or not (self.p.shape == self.q.shape == self.v_set.shape):
            raise GridError(
                "p, q and v_set must share one shape [B, n_unit]; got "
                f"{self.p.shape}, {self.q.shape}, {self.v_set.shape}."
            )

    @property
    def batch(self) -> int:
        return int(self.p.shape[0])
