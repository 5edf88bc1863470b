"""A scenario: what its file says, and the world that follows from it."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import gridrl
from gridrl.arrays import Floats, Ints
from gridrl.case import Case
from gridrl.env.fleet import Fleet, fleet_of
from gridrl.env.opponent import NOBODY, Opponent
from gridrl.env.rules import Rules
from gridrl.env.series import Series
from gridrl.env.world import World, build_world
from gridrl.errors import ScenarioError
from scenarios.fleet import read_fleet
from scenarios.generator import Recipe, generate
from scenarios.profiles import Windows, windows_of
from scenarios.ratings import Rating, rated
from scenarios.region import region_of
from scenarios.tables import read_series

PACKS = ("all", "train", "test")


@dataclass(frozen=True, kw_only=True)
class Outage:
    """An element out of service for some steps."""

    element: str  # "line:3"
    first_step: int
    steps: int
    episode: int | None  # None: in every one
    planned: bool  # maintenance, known ahead; else a hazard


@dataclass(frozen=True, kw_only=True)
class Foe:
    """An opponent by the names of the elements that it may attack."""

    elements: tuple[str, ...]
    weights: tuple[float, ...]  # of the elements; none: all alike
    by_loading: bool
    period: int
    duration: int
    cooldown: int
    budget: float
    budget_per_step: float


@dataclass(frozen=True, kw_only=True)
class Battery:
    """A storage unit of the grid that takes orders."""

    element: str  # "storage:0"
    energy_mwh: float
    power_mw: float  # largest intake and production
    efficiency: float  # each way


@dataclass(frozen=True, eq=False, kw_only=True)
class Scenario:
    """What a scenario file says. `world` makes something that can be played."""

    name: str
    title: str
    family: str
    grid: str  # a case by name or path
    split_all: bool = False  # every substation may be split, not only those with four terminals
    folder: Path  # paths in the file start here
    region: tuple[str, ...] = ()  # bus ids that are cut from the grid; none: all of it
    given: Case | None = None  # a case that was handed over, in place of ``grid``
    rating: Rating | None  # None: the file's own ratings
    recipe: Recipe | None  # None: series from tables or profiles
    windows: Windows | None = None  # of SimBench's profiles
    tables: str  # folder with tables of series, "" if they are generated
    test_episodes: int  # the last ones, kept for testing
    generators: str = ""  # tables of generators and storage, "" if the case and ``ramp`` say it
    storage: str = ""
    ramp: float  # share of p_max that a generator can move in one step
    grid_balances: bool = False  # the reference machine makes up for what is curtailed and stored
    batteries: tuple[Battery, ...] = ()
    rules: Rules
    foe: Foe | None
    outages: tuple[Outage, ...]
    areas: tuple[tuple[str, tuple[str, ...]], ...]  # name, bus ids
    frozen: tuple[tuple[str, str], ...] = ()  # pack, `pack_digest` that it must have

    @cached_property
    def case(self) -> Case:
        """The grid, with the ratings of the scenario."""
        path = self.folder / self.grid
        case = self.given or gridrl.load(path if path.is_file() else self.grid)
        if self.region:
            case = region_of(case, self.region)
        if self.rating is None:
            return case
        recipe = self.recipe
        sample = None
        if recipe is not None:  # an episode that is in no pack
            sample = generate(
                case, replace(recipe, episodes=1, first_episode=10**6), self._fleet(case)
            )
        return rated(case, self.rating, sample)

    @cached_property
    def fleet(self) -> Fleet:
        """Generators with their ramps."""
        if self.generators:
            storage = self.folder / self.storage if self.storage else None
            return read_fleet(self.case, self.folder / self.generators, storage)
        return self._fleet(self.case)

    def _fleet(self, case: Case) -> Fleet:
        fleet = fleet_of(case)
        recipe = self.recipe
        renewable = fleet.renewable.copy()
        if recipe is not None:
            named = {_unit(case, text) for text in (*recipe.wind, *recipe.solar)}
            renewable |= np.isin(fleet.gen_unit, sorted(named))
        p_max = fleet.p_max
        if self.windows is not None:  # no limit but what the year shows
            unlimited = renewable & ~np.isfinite(case.grid.p_max[fleet.gen_unit])
            highest = np.maximum(self._profiles.p[:, fleet.gen_unit].max(axis=0), 1e-6)
            p_max = np.where(unlimited, highest, p_max)
        runs = case.injection.p[0, fleet.gen_unit] != 0
        if recipe is not None:
            runs |= np.isin(fleet.gen_unit, [_unit(case, text) for text in recipe.plants])
        steers = (p_max > 0) & runs & ~renewable
        ramp = np.where(steers, self.ramp * p_max, 0.0)
        p_min = np.minimum(np.maximum(fleet.p_min, 0.0), p_max)
        if self.grid_balances:
            balances = case.grid.is_reference[fleet.gen_unit]
            wide = 10.0 * max(1.0, float(p_max.sum()))
            steers, ramp = steers | balances, np.where(balances, wide, ramp)
            p_min, p_max = np.where(balances, -wide, p_min), np.where(balances, wide, p_max)
        return replace(
            fleet, renewable=renewable, redispatchable=steers & (ramp > 0), ramp_up=ramp,
            ramp_down=ramp, p_min=p_min, p_max=p_max, **self._stores(case),
        )  # fmt: skip

    def _stores(self, case: Case) -> dict[str, Any]:
        """Columns of the fleet for storage."""
        base, batteries = case.grid.s_base_mva, self.batteries
        unit = [_unit(case, battery.element) for battery in batteries]
        energy, power, way = (
            np.array([getattr(battery, name) for battery in batteries], np.float64)
            for name in ("energy_mwh", "power_mw", "efficiency")
        )
        return {
            "storage_unit": np.array(unit, np.int64), "energy_min": 0.0 * energy,
            "energy_max": energy / base, "absorb_max": power / base, "produce_max": power / base,
            "charge_efficiency": way, "discharge_efficiency": way, "loss": 0.0 * energy,
        }  # fmt: skip

    @cached_property
    def _profiles(self) -> Series:
        assert self.windows is not None
        return windows_of(self.case, self.grid, self.windows)

    @cached_property
    def series(self) -> Series:
        """All episodes, with their planned and unplanned outages."""
        if self.windows is not None:
            series = self._profiles
        elif self.recipe is not None:
            series = generate(self.case, self.recipe, self.fleet)
        else:
            series = read_series(self.case, self.folder / self.tables)
        return _with_outages(self.case, series, self.outages)

    def episodes(self, pack: str = "all") -> Ints:
        """Episodes of a pack: "train" and "test" share none.

        Raises
        ------
        ScenarioError
            There is no such pack, or it is empty.
        """
        n = self.series.n_episode
        if pack not in PACKS:
            raise ScenarioError(f"No pack '{pack}'. There are {', '.join(PACKS)}.")
        kept = n - self.test_episodes
        found = {"all": range(n), "train": range(kept), "test": range(kept, n)}[pack]
        if not len(found):
            raise ScenarioError(
                f"Pack '{pack}' of {self.name} is empty: {self.test_episodes} of {n} episodes are "
                "for testing."
            )
        return np.array(found, np.int64)

    def world(self, *, threads: int = 1, pack: str = "all") -> World:
        """The scenario as an environment plays it, with the episodes of a pack."""
        case = self.case
        series = self.series
        if pack != "all":
            series = picked(series, self.episodes(pack))
        return build_world(
            case, series, self.rules, fleet=self.fleet, opponent=self._opponent(),
            area=self.area, threads=threads,
            split=np.flatnonzero(~case.grid.is_star) if self.split_all else None,
        )  # fmt: skip

    @cached_property
    def area(self) -> Ints:
        """[n_substation] number of the operator area; 0 where areas are not given."""
        grid = self.case.grid
        out = np.full(grid.n_substation, -1 if self.areas else 0, np.int64)
        at = dict(zip(grid.bus_id, grid.bus_substation.tolist(), strict=True))
        for number, (name, buses) in enumerate(self.areas):
            for bus in buses:
                if bus not in at:
                    raise ScenarioError(
                        f"Area '{name}' names bus {bus}, which {grid.name} does not have."
                    )
                if out[at[bus]] >= 0 and out[at[bus]] != number:
                    raise ScenarioError(f"Bus {bus} is in two areas, '{name}' among them.")
                out[at[bus]] = number
        # a star point belongs to the area of its first neighbour
        for k in range(grid.n_branch):
            f, t = int(grid.from_substation[k]), int(grid.to_substation[k])
            for star, other in ((f, t), (t, f)):
                if grid.is_star[star] and out[star] < 0:
                    out[star] = out[other]
        missing = [grid.substation_bus[int(s)] for s in np.flatnonzero(out < 0)]
        if missing:
            raise ScenarioError(
                f"{len(missing)} buses are in no area: {', '.join(missing[:5])}. Add them to one."
            )
        return out

    def _opponent(self) -> Opponent:
        foe = self.foe
        if foe is None:
            return NOBODY
        found = [_branches(self.case, text) for text in foe.elements]
        weight = np.repeat(foe.weights or np.ones(len(found)), [lines.size for lines in found])
        return Opponent(
            lines=np.concatenate(found), weight=weight, by_loading=foe.by_loading,
            period=foe.period, duration=foe.duration, cooldown=foe.cooldown, budget=foe.budget,
            budget_per_step=foe.budget_per_step,
        )  # fmt: skip

    @cached_property
    def digest(self) -> str:
        """SHA-256 of grid ratings and all series to six digits."""
        return self.pack_digest("all")

    def pack_digest(self, pack: str) -> str:
        """SHA-256 of grid ratings and the series of a pack to six digits."""
        sha = hashlib.sha256()
        grid, series = self.case.grid, picked(self.series, self.episodes(pack))
        for values in (
            grid.i_max_from, grid.i_max_to, grid.s_max, series.p, series.q, series.maintenance,
            series.hazard,
        ):  # fmt: skip
            finite = np.nan_to_num(np.round(values.astype(np.float64), 6), nan=-1e9, posinf=1e9)
            sha.update(np.rint(finite * 1e6).astype(np.int64).tobytes())
        return sha.hexdigest()

    def verify(self) -> None:
        """Hold the packs against the hashes that the file states.

        Raises
        ------
        ScenarioError
            A pack is not what it was when it was frozen: results would not be comparable.
        """
        for pack, wanted in self.frozen:
            found = self.pack_digest(pack)
            if found != wanted:
                raise ScenarioError(
                    f"Pack '{pack}' of {self.name} has changed since it was frozen: its hash is "
                    f"{found}, the file says {wanted}. Restore grid and series, or state the new "
                    "hash under [packs] and do not compare with earlier results."
                )


def picked(series: Series, episodes: Ints) -> Series:
    """Some episodes of a series, in the order given."""
    rows = np.concatenate(
        [np.arange(series.start[e], series.start[e + 1]) for e in episodes.tolist()]
    )
    lengths = np.diff(series.start)[episodes]

    def part(values: Floats) -> Floats:
        return values[..., rows, :] if len(values) else values

    return replace(
        series, start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        p=series.p[rows], q=series.q[rows], v_set=series.v_set[rows],
        maintenance=part(series.maintenance), hazard=part(series.hazard),  # type: ignore[arg-type]
        p_forecast=part(series.p_forecast), q_forecast=part(series.q_forecast),
        outlook=None if series.outlook is None else series.outlook.rows(rows),
        names=tuple(series.names[e] for e in episodes) if series.names else (),
        clock_s=series.clock_s[episodes] if series.clock_s.size else series.clock_s,
    )  # fmt: skip


def _unit(case: Case, text: str) -> int:
    """The only unit of an element."""
    units = np.flatnonzero(case.grid.unit_element == case.grid.find_element(text))
    if units.size != 1:
        raise ScenarioError(f"{text} is no single generator of {case.grid.name}.")
    return int(units[0])


def _branches(case: Case, text: str) -> Ints:
    found = np.flatnonzero(case.grid.branch_element == case.grid.find_element(text))
    if not found.size:
        raise ScenarioError(f"{text} of {case.grid.name} is no line or transformer.")
    return found.astype(np.int64)


def _with_outages(case: Case, series: Series, outages: tuple[Outage, ...]) -> Series:
    """The series with these elements out of service."""
    if not outages:
        return series
    shape = (series.p.shape[0], case.grid.n_branch)
    out = {True: np.zeros(shape, np.bool_), False: np.zeros(shape, np.bool_)}
    for outage in outages:
        lines = _branches(case, outage.element)
        if outage.episode is not None and not 0 <= outage.episode < series.n_episode:
            raise ScenarioError(
                f"The outage of {outage.element} is in episode {outage.episode}, but there are "
                f"{series.n_episode}."
            )
        for e in range(series.n_episode) if outage.episode is None else [outage.episode]:
            begin = int(series.start[e]) + outage.first_step
            end = min(begin + outage.steps, int(series.start[e + 1]))
            out[outage.planned][begin:end, lines] = True
    return replace(series, maintenance=out[True], hazard=out[False])
