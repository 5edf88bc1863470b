"""What goes wrong between a grid and the control room: noise, gaps, delays, wrong statuses.

A sensor is a frozen description; what it has to remember is in a dictionary that its user keeps.
It takes an `Observation` or a `State` and hands back one with other values. What it draws follows
from the seed of the episode and the row alone, so that the same episode reads the same, whatever
shares its batch.

>>> import gridrl.env
>>> from gridrl.env.sensors import Delay, Missing, Noise
>>> env = gridrl.env.make("ieee14", sensors=[Noise(0.02), Missing(0.1), Delay(2)])
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from gridrl.arrays import Floats, Ints
from gridrl.env.state import State
from gridrl.errors import RulesError
from gridrl.observation import Observation

Seen = TypeVar("Seen", bound=Observation | State)
Memory = dict[str, NDArray[Any]]
POWERS = ("rho", "p_from", "q_from", "p_to", "q_to", "unit_p", "unit_q", "p", "q", "s_from", "s_to")
VOLTAGES = ("unit_v", "v_from", "v_to", "angle", "v")
MEASURED = POWERS + VOLTAGES  # of `Observation` and `State`


@dataclass(frozen=True, eq=False, kw_only=True)
class Reading:
    """Which members of a batch are read, and when."""

    seed: NDArray[np.uint64]  # [m] of the episodes
    row: Ints  # [m] of the series
    where: Ints  # [m] their places in the whole batch
    total: int  # size of the whole batch
    fresh: bool  # whether their episodes have just begun


class Sensor(Protocol):
    """Anything that changes what is seen."""

    def __call__(self, seen: Seen, reading: Reading, memory: Memory, salt: int, /) -> Seen:
        """What is read of ``seen``; ``salt`` tells sensors of one kind apart."""
        ...


@dataclass(frozen=True)
class Noise:
    """Each measurement times 1 + a normal error, drawn anew in each step.

    Raises
    ------
    RulesError
        An error is negative.
    """

    deviation: float = 0.01  # standard deviation of powers and loadings, share of the value
    voltage: float | None = None  # the same of voltages and angles; a tenth of it by default

    def __post_init__(self) -> None:
        _within("deviation", self.deviation, 0.0, 10.0)
        if self.voltage is not None:
            _within("voltage", self.voltage, 0.0, 10.0)

    def __call__(self, seen: Seen, reading: Reading, _memory: Memory, salt: int) -> Seen:
        """See `Sensor`."""
        voltage = 0.1 * self.deviation if self.voltage is None else self.voltage
        changed = {}
        for k, (name, value) in enumerate(_measured(seen, MEASURED)):
            size = voltage if name in VOLTAGES else self.deviation
            drawn = ndtri(uniform(reading, salt + k, value.shape[1]))
            changed[name] = value * (1.0 + size * drawn)
        return replace(seen, **changed)


@dataclass(frozen=True)
class Missing:
    """Measurements that do not arrive.

    Raises
    ------
    RulesError
        The share is outside 0..1, or there is no such filling.
    """

    share: float = 0.05  # of the measurements, drawn anew in each step
    fill: Literal["last", "zero"] = "last"  # the last value that arrived in the episode, else 0

    def __post_init__(self) -> None:
        _within("share", self.share, 0.0, 1.0)
        if self.fill not in ("last", "zero"):
            raise RulesError(f"fill is {self.fill!r}; give 'last' or 'zero'.")

    def __call__(self, seen: Seen, reading: Reading, memory: Memory, salt: int) -> Seen:
        """See `Sensor`."""
        changed = {}
        for k, (name, value) in enumerate(_measured(seen, MEASURED)):
            lost = uniform(reading, salt + k, value.shape[1]) < self.share
            last = np.zeros_like(value)
            if self.fill == "last" and not reading.fresh and name in memory:
                last = memory[name][reading.where]
            changed[name] = np.where(lost, last, value)
            if self.fill == "last":
                _keep(memory, name, changed[name], reading)
        return replace(seen, **changed)


@dataclass(frozen=True)
class Delay:
    """Measurements that arrive late; before the first has arrived, that of the first step counts.

    Raises
    ------
    RulesError
        The delay is not a whole number of 1 or more.
    """

    steps: int = 1

    def __post_init__(self) -> None:
        _counted("steps", self.steps)

    def __call__(self, seen: Seen, reading: Reading, memory: Memory, _salt: int) -> Seen:
        """See `Sensor`."""
        changed = {}
        for name, value in _measured(seen, MEASURED):
            if name not in memory:
                shape = (reading.total, self.steps + 1, value.shape[1])
                memory[name] = np.zeros(shape, value.dtype)
            past = memory[name]
            if reading.fresh:
                past[reading.where] = value[:, None]
            else:
                past[reading.where, :-1] = past[reading.where, 1:]
                past[reading.where, -1] = value
            changed[name] = past[reading.where, 0]
        return replace(seen, **changed)


@dataclass(frozen=True)
class WrongStatus:
    """Breakers whose position is reported wrongly; what is measured stays true.

    Raises
    ------
    RulesError
        The share is outside 0..1, or ``hold`` no whole number of 1 or more.
    """

    share: float = 0.01  # of the branches
    hold: int = 12  # steps until other ones are wrong

    def __post_init__(self) -> None:
        _within("share", self.share, 0.0, 1.0)
        _counted("hold", self.hold)

    def __call__(self, seen: Seen, reading: Reading, _memory: Memory, salt: int) -> Seen:
        """See `Sensor`."""
        closed = seen.closed if isinstance(seen, State) else seen.line_status.astype(np.bool_)
        n = closed.shape[1]
        period = replace(reading, row=reading.row // self.hold)
        wrong = uniform(period, salt, n) < self.share
        told = closed ^ wrong
        if isinstance(seen, State):
            return cast("Seen", replace(seen, closed=told))
        busbar = seen.busbar.copy()
        for end in (slice(0, n), slice(n, 2 * n)):
            part = busbar[:, end]
            part[wrong & ~told] = -1
            part[wrong & told & (part < 1)] = 1
        return cast("Seen", replace(seen, line_status=told, busbar=busbar))


class Sensors:
    """Several sensors one behind the other, with what they remember for ``total`` grids.

    Raises
    ------
    RulesError
        One of them is no sensor.
    """

    def __init__(self, sensors: Iterable[Sensor], total: int) -> None:
        self.sensors = tuple(sensors)
        given: tuple[object, ...] = self.sensors
        for one in given:
            if isinstance(one, type) or not callable(one):
                raise RulesError(f"{one!r} is no sensor; give objects like Noise(0.02).")
        self.total = total
        self.memory: list[Memory] = [{} for _ in self.sensors]

    def read(
        self, seen: Seen, state: State, *, where: Ints | None = None, fresh: bool = False
    ) -> Seen:
        """What arrives of ``seen`` in the control room.

        Parameters
        ----------
        seen
            An observation of ``state``, or ``state`` itself.
        where
            [m] places of the m states in the whole batch; all by default.
        fresh
            Their episodes have just begun: what is remembered of their places is forgotten.
        """
        reading = Reading(
            seed=state.seed, row=state.row, total=self.total, fresh=fresh,
            where=np.arange(state.batch) if where is None else where,
        )  # fmt: skip
        for k, (sensor, memory) in enumerate(zip(self.sensors, self.memory, strict=True)):
            seen = sensor(seen, reading, memory, 64 * (k + 1))
        return seen


def uniform(reading: Reading, salt: int, width: int) -> Floats:
    """[m, width] numbers inside (0, 1) that follow from seed, row, salt and column (SplitMix64)."""
    with np.errstate(over="ignore"):
        x = _mixed(reading.seed ^ _mixed(reading.row.astype(np.uint64) + np.uint64(salt << 32)))
        x = _mixed(x[:, None] + np.arange(1, width + 1, dtype=np.uint64) * _GOLDEN)
    return np.asarray(((x >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x + _GOLDEN) ^ ((x + _GOLDEN) >> np.uint64(30))
    x = x * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def _measured(seen: Observation | State, names: tuple[str, ...]) -> list[tuple[str, Any]]:
    """The measurements that there are, by name."""
    found = [(name, getattr(seen, name)) for name in names if hasattr(seen, name)]
    return [(name, value) for name, value in found if value.shape[1]]


def _keep(memory: Memory, name: str, value: NDArray[Any], reading: Reading) -> None:
    if name not in memory:
        memory[name] = np.zeros((reading.total, value.shape[1]), value.dtype)
    memory[name][reading.where] = value


def _counted(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RulesError(f"{name} is {value!r}; give a whole number of 1 or more.")


def _within(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise RulesError(f"{name} is {value!r}; give {low:g} to {high:g}.")
