"""A scenario: what its file says, and the world that follows from it."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

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
from scenarios.generator import Recipe, generate
from scenarios.ratings import Rating, rated
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
    by_loading: bool
    duration: int
    cooldown: int
    budget: float
    budget_per_step: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Scenario:
    """What a scenario file says. `world` makes something that can be played."""

    name: str
    title: str
    family: str
    grid: str  # a case by name or path
    folder: Path  # paths in the file start here
    rating: Rating | None  # None: the file's own ratings
    recipe: Recipe | None  # None: series from tables
    tables: str  # folder with tables of series, "" if they are generated
    test_episodes: int  # the last ones, kept for testing
    ramp: float  # share of p_max that a generator can move in one step
    rules: Rules
    foe: Foe | None
    outages: tuple[Outage, ...]
    areas: tuple[tuple[str, tuple[str, ...]], ...]  # name, bus ids

    @cached_property
    def case(self) -> Case:
        """The grid, with the ratings of the scenario."""
        path = self.folder / self.grid
        case = gridrl.load(path if path.is_file() else self.grid)
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
        return self._fleet(self.case)

    def _fleet(self, case: Case) -> Fleet:
        fleet = fleet_of(case)
        recipe = self.recipe
        renewable = fleet.renewable.copy()
        if recipe is not None:
            named = {_unit(case, text) for text in (*recipe.wind, *recipe.solar)}
            renewable |= np.isin(fleet.gen_unit, sorted(named))
        active = (fleet.p_max > 0) & (case.injection.p[0, fleet.gen_unit] != 0)
        steers = active & ~renewable
        ramp = np.where(steers, self.ramp * fleet.p_max, 0.0)
        return replace(
            fleet, renewable=renewable, redispatchable=steers & (ramp > 0), ramp_up=ramp,
            ramp_down=ramp, p_min=np.maximum(fleet.p_min, 0.0),
        )  # fmt: skip

    @cached_property
    def series(self) -> Series:
        """All episodes, with their planned and unplanned outages."""
        if self.recipe is not None:
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
        lines = np.concatenate([_branches(self.case, text) for text in foe.elements])
        return Opponent(
            lines=lines, weight=np.ones(lines.size), by_loading=foe.by_loading,
            duration=foe.duration, cooldown=foe.cooldown, budget=foe.budget,
            budget_per_step=foe.budget_per_step,
        )  # fmt: skip

    @cached_property
    def digest(self) -> str:
        """SHA-256 of grid ratings and series to six digits: packs are frozen by it."""
        sha = hashlib.sha256()
        grid, series = self.case.grid, self.series
        for values in (grid.i_max_from, grid.i_max_to, grid.s_max, series.p, series.q):
            finite = np.nan_to_num(np.round(values, 6), nan=-1e9, posinf=1e9)
            sha.update(np.rint(finite * 1e6).astype(np.int64).tobytes())
        return sha.hexdigest()


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
