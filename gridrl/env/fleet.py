"""The units of a grid that operators dispatch: generators with ramps, and storage."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gridrl.arrays import Bools, Floats, Ints, freeze
from gridrl.case import Case
from gridrl.errors import ScenarioError

RENEWABLE_KINDS = frozenset({"sgen"})
GENERATOR_KINDS = frozenset({"gen", "ext_grid", "sgen"})


@dataclass(frozen=True, eq=False, kw_only=True)
class Fleet:
    """Limits of generators and storage units; power is what they bring into the grid.

    Raises
    ------
    ScenarioError
        Lengths differ, or a limit is negative or upside down.
    """

    gen_unit: Ints  # [n_gen] unit of each generator
    redispatchable: Bools  # [n_gen] follows orders to bring more or less
    renewable: Bools  # [n_gen] may be curtailed
    p_min: Floats  # [n_gen] p.u.
    p_max: Floats  # [n_gen] p.u.
    ramp_up: Floats  # [n_gen] p.u. per step
    ramp_down: Floats  # [n_gen] p.u. per step
    storage_unit: Ints  # [n_storage] unit of each storage
    energy_min: Floats  # [n_storage] p.u. h
    energy_max: Floats  # [n_storage] p.u. h
    absorb_max: Floats  # [n_storage] p.u.
    produce_max: Floats  # [n_storage] p.u.
    charge_efficiency: Floats  # [n_storage]
    discharge_efficiency: Floats  # [n_storage]
    loss: Floats  # [n_storage] p.u., drained at all times

    def __post_init__(self) -> None:
        freeze(self)
        for size, names in (
            (self.n_gen, "redispatchable renewable p_min p_max ramp_up ramp_down"),
            (
                self.n_storage,
                (
                    "energy_min energy_max absorb_max produce_max charge_efficiency "
                    "discharge_efficiency loss"
                ),
            ),
        ):
            for name in names.split():
                if getattr(self, name).shape != (size,):
                    raise ScenarioError(
                        f"{name} has shape {getattr(self, name).shape}, expected ({size},)."
                    )
        bad = (self.p_min > self.p_max) | (self.ramp_up < 0) | (self.ramp_down < 0)
        if bad.any():
            raise ScenarioError(
                f"{bad.sum()} generators have p_min above p_max or a negative ramp: units "
                f"{self.gen_unit[bad][:5].tolist()}."
            )
        bad = (self.energy_min > self.energy_max) | (self.charge_efficiency <= 0)
        bad |= (self.discharge_efficiency <= 0) | (self.absorb_max < 0) | (self.produce_max < 0)
        if bad.any():
            raise ScenarioError(
                f"{bad.sum()} storage units have an energy, power or efficiency that is upside "
                f"down: units {self.storage_unit[bad][:5].tolist()}."
            )

    @property
    def n_gen(self) -> int:
        return int(self.gen_unit.size)

    @property
    def n_storage(self) -> int:
        return int(self.storage_unit.size)

    @cached_property
    def gen_arrays(self) -> tuple[Bools | Floats, ...]:
        """The generators as the kernels take them."""
        names = ("redispatchable", "renewable", "p_min", "p_max", "ramp_up", "ramp_down")
        return tuple(np.array(getattr(self, name)) for name in names)

    @cached_property
    def storage_arrays(self) -> tuple[Floats, ...]:
        """The storage units as the kernels take them."""
        names = (
            "energy_min energy_max absorb_max produce_max charge_efficiency discharge_efficiency "
            "loss"
        ).split()
        return tuple(np.array(getattr(self, name)) for name in names)


def fleet_of(case: Case) -> Fleet:
    """What a case says about its generators and storage: limits, but no ramps and no energy.

    Without ramps nothing is redispatched and without energy nothing stored; static generators
    count as renewable.
    """
    grid = case.grid
    kinds = np.array(grid.unit_kind)
    gen = np.flatnonzero(np.isin(kinds, sorted(GENERATOR_KINDS)))
    zero = np.zeros(gen.size)
    now = case.injection.p[0, gen]
    p_min = np.where(np.isfinite(grid.p_min[gen]), grid.p_min[gen], np.minimum(now, 0.0))
    p_max = np.where(np.isfinite(grid.p_max[gen]), grid.p_max[gen], np.maximum(2.0 * now, 1.0))
    none = np.empty(0)
    return Fleet(
        gen_unit=gen.astype(np.int64),
        redispatchable=np.zeros(gen.size, np.bool_),
        renewable=np.isin(kinds[gen], sorted(RENEWABLE_KINDS)),
        p_min=np.minimum(p_min, p_max), p_max=p_max, ramp_up=zero, ramp_down=zero,
        storage_unit=np.empty(0, np.int64), energy_min=none, energy_max=none, absorb_max=none,
        produce_max=none, charge_efficiency=none, discharge_efficiency=none, loss=none,
    )  # fmt: skip
