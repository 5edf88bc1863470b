"""Sensors that fail, and models that are wrong."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gridrl.env
from gridrl.env.model_error import wrong_model
from gridrl.env.observe import observe
from gridrl.env.sensors import Delay, Missing, Noise, Sensors, WrongStatus
from gridrl.env.state import State
from gridrl.env.step import reset, step
from gridrl.env.vector import members
from gridrl.env.world import World
from gridrl.errors import RulesError
from gridrl.graphs.parts import LINE, Branches
from gridrl.observation import Observation

BATCH = 64


@pytest.fixture(scope="module")
def rows(world: World) -> list[State]:
    """Three states in a row of many episodes."""
    quiet = replace(world, rules=replace(world.rules, overflow_trips=False))
    state = reset(quiet, np.random.default_rng(4), batch=BATCH)
    out = [state]
    for _ in range(2):
        state, _ = step(quiet, state)
        out.append(state)
    return out


def seen_of(world: World, state: State) -> Observation:
    return observe(world, state, ends=True)


def test_noise_has_its_size_and_no_bias(world: World, rows: list[State]) -> None:
    seen = seen_of(world, rows[0])
    read = Sensors([Noise(0.05, voltage=0.01)], BATCH).read(seen, rows[0])
    for name, size in (("rho", 0.05), ("p_to", 0.05), ("unit_q", 0.05), ("v_from", 0.01)):
        true, got = getattr(seen, name), getattr(read, name)
        some = np.abs(true) > 1e-6
        error = got[some] / true[some] - 1.0
        # the standard error of a deviation is size / sqrt(2 n), of a mean size / sqrt(n)
        assert error.std() == pytest.approx(size, rel=4 / np.sqrt(2 * error.size))
        assert abs(error.mean()) < 4 * size / np.sqrt(error.size)
    np.testing.assert_array_equal(read.busbar, seen.busbar)
    # two measurements of one thing err on their own
    a, b = read.p_from / seen.p_from - 1, read.q_from / seen.q_from - 1
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.1


def test_what_is_read_does_not_depend_on_the_batch(world: World, rows: list[State]) -> None:
    sensors = [Noise(0.02), Noise(0.02), Missing(0.2, fill="zero"), WrongStatus(0.1)]
    whole = Sensors(sensors, BATCH).read(seen_of(world, rows[1]), rows[1])
    few = members(rows[1], np.array([7, 3]))
    part = Sensors(sensors, 2).read(seen_of(world, few), few)
    for name in ("rho", "p_from", "v_to", "line_status"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[[7, 3]])
    true = seen_of(world, rows[1])
    some = true.p_from != 0
    once, twice = (
        Sensors(sensors[:k], BATCH).read(true, rows[1]).p_from[some] / true.p_from[some]
        for k in (1, 2)
    )
    # two sensors of one kind err on their own: variances add
    assert twice.std() == pytest.approx(np.sqrt(2) * once.std(), rel=0.1)


def test_what_is_missing_stays_as_it_was(world: World, rows: list[State]) -> None:
    sensors = Sensors([Missing(0.3)], BATCH)
    first = sensors.read(seen_of(world, rows[0]), rows[0], fresh=True)
    lost = first.rho != rows[0].rho
    assert lost.mean() == pytest.approx(0.3, abs=0.05)
    assert not first.rho[lost].any()  # nothing had arrived before
    then = sensors.read(seen_of(world, rows[1]), rows[1])
    kept = then.rho != rows[1].rho
    assert kept.mean() == pytest.approx(0.3, abs=0.05)
    np.testing.assert_array_equal(then.rho[kept], first.rho[kept])
    again = sensors.read(seen_of(world, rows[2]), rows[2], fresh=True)
    assert not again.rho[again.rho != rows[2].rho].any()  # an episode does not know the last one


def test_what_is_late_is_the_past(world: World, rows: list[State]) -> None:
    sensors = Sensors([Delay(2)], BATCH)
    read = [
        sensors.read(seen_of(world, state), state, fresh=k == 0) for k, state in enumerate(rows)
    ]
    for got in read:
        np.testing.assert_array_equal(got.rho, rows[0].rho)
        np.testing.assert_array_equal(got.p_from, rows[0].s_from.real)
    np.testing.assert_array_equal(sensors.read(seen_of(world, rows[2]), rows[2]).rho, rows[1].rho)
    new = np.array([5])
    begun = members(rows[2], new)
    sensors.read(seen_of(world, begun), begun, where=new, fresh=True)
    following = sensors.read(seen_of(world, rows[0]), rows[0]).rho
    np.testing.assert_array_equal(following[5], rows[2].rho[5])
    np.testing.assert_array_equal(following[4], rows[2].rho[4])


def test_wrong_statuses_leave_the_measurements(world: World, rows: list[State]) -> None:
    sensor = Sensors([WrongStatus(0.1, hold=10**6)], BATCH)
    n = world.case.grid.n_branch
    closed = rows[0].closed.copy()
    closed[:, 2] = False
    state = replace(rows[0], closed=closed)
    read = sensor.read(seen_of(world, state), state)
    wrong = read.line_status != closed
    assert wrong.mean() == pytest.approx(0.1, abs=0.03)
    np.testing.assert_array_equal(read.p_from, state.s_from.real)
    assert (read.busbar[:, :n][wrong & closed] == -1).all()
    assert (read.busbar[:, n : 2 * n][wrong & ~closed] > 0).all()
    # the same ones are wrong in the next step, and in a state
    np.testing.assert_array_equal(sensor.read(rows[1], rows[1]).closed, rows[1].closed ^ wrong)


def test_states_are_read_like_observations(world: World, rows: list[State]) -> None:
    state = rows[0]
    read = Sensors([Noise(0.1)], BATCH).read(state, state)
    ratio = read.s_from / np.where(state.s_from == 0, 1, state.s_from)
    assert np.abs(ratio.imag).max() < 1e-12  # angle of the power is kept
    assert np.std(ratio.real) == pytest.approx(0.1, rel=0.1)
    np.testing.assert_array_equal(read.row, state.row)


def test_the_grid_does_not_feel_its_sensors(world: World) -> None:
    settings: dict[str, Any] = {"steps": 6, "observe_as": "dict"}
    true = gridrl.env.make_vector(world, 4, **settings)
    wrong = gridrl.env.make_vector(
        world, 4, sensors=[Noise(0.1), Missing(0.3), Delay(1), WrongStatus(0.2)], **settings
    )
    for env in (true, wrong):
        env.reset(seed=5)
    for _ in range(8):
        a, b = (env.step(np.zeros(4, np.int64)) for env in (true, wrong))
        np.testing.assert_array_equal(a[1], b[1])
        np.testing.assert_array_equal(a[2], b[2])
        assert not np.allclose(a[0]["rho"], b[0]["rho"])
    again = gridrl.env.make_vector(
        world, 4, sensors=[Noise(0.1), Missing(0.3), Delay(1), WrongStatus(0.2)], **settings
    )
    again.reset(seed=5)
    for _ in range(8):
        c = again.step(np.zeros(4, np.int64))
    np.testing.assert_array_equal(b[0]["rho"], c[0]["rho"])


# --- wrong models ---------------------------------------------------------------------------
def test_a_wrong_model_has_other_impedances_and_ratings(world: World) -> None:
    rng = np.random.default_rng(2)
    model = wrong_model(world, rng, r=0.2, x=0.1, rating=0.05)
    true, believed = Branches.of(world.case.grid), Branches.of(model.case.grid)
    for name, size in (("r", 0.2), ("x", 0.1), ("inverse_rating", 0.05)):
        old, new = getattr(true, name), getattr(believed, name)
        some = old > 0
        assert np.std(np.log(new[some] / old[some])) == pytest.approx(size, rel=0.6)
    for name in ("b", "log_ratio", "shift"):
        np.testing.assert_allclose(getattr(believed, name), getattr(true, name), atol=1e-9)
    same = wrong_model(world, rng)
    np.testing.assert_allclose(same.case.grid.y_ff, world.case.grid.y_ff, atol=1e-12)
    np.testing.assert_allclose(same.case.grid.y_ft, world.case.grid.y_ft, atol=1e-12)


def test_wrong_impedances_give_the_flows_of_pandapower() -> None:
    """A model whose reactances are all 10 % too large, by pandapower's own solver."""
    import pandapower as pp
    import pandapower.networks as networks

    import scenarios

    class Larger(np.random.Generator):
        def standard_normal(self, size: Any) -> Any:  # type: ignore[override]
            return np.ones(size)

    world = scenarios.from_case("case14").world()
    model = wrong_model(world, Larger(np.random.PCG64(0)), x=np.log(1.1))
    net = networks.case14()
    net.line.x_ohm_per_km *= 1.1
    pp.runpp(net)
    v = gridrl.flow(model.case).v[0][: len(net.bus)]
    lines = len(net.line)
    # transformers of the file have no resistance, so that their x is their short-circuit voltage
    net.trafo.vk_percent *= 1.1
    pp.runpp(net)
    np.testing.assert_allclose(np.abs(v), net.res_bus.vm_pu, atol=1e-6)
    np.testing.assert_allclose(np.degrees(np.angle(v)), net.res_bus.va_degree, atol=1e-5)
    assert lines == 15


def test_an_agent_sees_its_model(world: World) -> None:
    model = wrong_model(world, np.random.default_rng(0), x=0.1, rating=0.1)
    settings: dict[str, Any] = {"observe_as": "graph", "graph": "line", "steps": 5}
    true, wrong = (gridrl.env.make(world, model=which, **settings) for which in (None, model))
    seen = [env.reset(seed=1)[0]["line"] for env in (true, wrong)]
    limits = [Branches.of(w.case.grid).inverse_rating for w in (world, model)]
    rho, x = LINE.index("rho"), LINE.index("x")
    np.testing.assert_allclose(seen[1][:, rho] / seen[0][:, rho], limits[1] / limits[0], rtol=1e-5)
    assert not np.allclose(seen[1][:, x], seen[0][:, x])
    assert true.step(0)[1] == wrong.step(0)[1]


@pytest.mark.parametrize(
    ("make", "says"),
    (
        (lambda: Noise(-0.1), "deviation is -0.1; give 0 to 10"),
        (lambda: Missing(1.5), "share is 1.5; give 0 to 1"),
        (lambda: Missing(0.1, fill="magic"), "fill is 'magic'"),  # type: ignore[arg-type]
        (lambda: Delay(0), "steps is 0; give a whole number"),
        (lambda: WrongStatus(0.1, hold=0), "hold is 0"),
        (lambda: Noise(float("nan")), "deviation is nan"),
    ),
)
def test_sensors_that_make_no_sense_are_refused(make: Any, says: str) -> None:
    with pytest.raises(RulesError, match=says):
        make()


def test_a_model_error_is_a_deviation(world: World) -> None:
    with pytest.raises(RulesError, match="x is -1"):
        wrong_model(world, np.random.default_rng(0), x=-1)
