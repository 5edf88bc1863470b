"""A learned start may change iterations, never the optimum; and files of strangers."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

import gridrl
from gridrl.errors import CaseError, GridError
from gridrl.opf import solve, solve_many, verify
from gridrl.opf.arrange import arrange
from gridrl.opf.interior_point import RELAX, Options, cost_scale
from gridrl.opf.problem import build_problem
from gridrl.opf.warm_start import load
from gridrl.training.warm_start import (
    TrainOptions,
    differences,
    draw_states,
    label,
    safe_outages,
    train,
)
from tests.cases import pglib_files

SMALL = TrainOptions(states=1500, epochs=40, hidden=64, width=0.05, outages=0.0)


@pytest.fixture(scope="module")
def case30():
    return gridrl.load(pglib_files.path_of("30_ieee"))


@pytest.fixture(scope="module")
def trained(case30):
    return train(case30, np.random.default_rng(3), options=SMALL)


def cost(case, found):
    verdict = verify(case, found.p, found.q, found.v)
    assert verdict.max_violation_pu < 1e-6
    return verdict.cost


def test_a_learned_start_saves_iterations_and_never_changes_the_optimum(case30, trained):
    """On states drawn with another seed than those learned from."""
    injection, topology = draw_states(case30, 60, 0.05, 0.0, np.random.default_rng(99))
    cold = solve_many(case30, injection, topology)
    start = trained.predict(build_problem(case30), injection, topology)
    warm = solve_many(case30, injection, topology, warm=start)
    np.testing.assert_array_equal(warm.status, cold.status)
    assert warm.iterations[cold.ok].mean() < 0.3 * cold.iterations[cold.ok].mean()
    for k in np.flatnonzero(cold.ok):
        a, b = cold.solution(k), warm.solution(k)
        assert cost(a.case, a) == pytest.approx(cost(b.case, b), rel=1e-7)


def test_a_wrong_start_costs_time_alone(case30, trained):
    """Weights turned into noise: the same optimum."""
    rng = np.random.default_rng(0)
    wrong = rng.normal(1, 3, trained.bias_3.size).astype(np.float32)
    noise = replace(trained, bias_3=trained.bias_3 * wrong)
    problem = build_problem(case30)
    found = solve(case30, warm=noise.predict(problem)[0])
    assert cost(case30, found) == pytest.approx(cost(case30, solve(case30)), rel=1e-7)


def test_the_same_seed_gives_the_same_weights(case30):
    options = TrainOptions(states=200, epochs=1, hidden=16, width=0.05)
    a, b = (train(case30, np.random.default_rng(1), options=options) for _ in range(2))
    np.testing.assert_array_equal(a.weight_3, b.weight_3)


def test_weights_survive_their_file(case30, trained, tmp_path):
    trained.save(tmp_path / "w.safetensors")
    again = load(tmp_path / "w.safetensors")
    problem = build_problem(case30)
    for name in ("va", "v", "s", "balance_price", "limit_price"):
        then, now = getattr(trained.predict(problem), name), getattr(again.predict(problem), name)
        np.testing.assert_allclose(now, then, rtol=1e-5, atol=1e-6)


def test_weights_of_another_grid_are_refused(trained):
    other = build_problem(gridrl.load(pglib_files.path_of("14_ieee")))
    with pytest.raises(GridError, match="belong to a grid of 30 nodes and 41 branches"):
        trained.predict(other)


def test_files_that_are_no_weights_are_refused(trained, tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(CaseError, match="Cannot read weights"):
        load(path)
    path.write_bytes(b"\x80\x04junk that pickle would like")
    with pytest.raises(CaseError, match="not a safetensors file"):
        load(path)
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(CaseError, match="does not hold weights of a warm start"):
        load(path)
    replace(trained, limit=trained.limit + 10**6).save(path)
    with pytest.raises(CaseError, match="limit cannot be what was trained"):
        load(path)
    replace(trained, bias_3=trained.bias_3 * np.float32("nan")).save(path)
    with pytest.raises(CaseError, match="bias_3 cannot be what was trained"):
        load(path)
    replace(trained, weight_2=trained.weight_2[:3]).save(path)
    with pytest.raises(CaseError, match="weight_2 cannot be what was trained"):
        load(path)


def test_labels_are_optima_and_cost_no_more_than_those(case30):
    """Slack times scaled multiplier is at the tolerance, 1e-8, times the scale of the error."""
    injection, topology = draw_states(case30, 40, 0.2, 0.5, np.random.default_rng(7))
    batch, good = label(case30, injection, topology, 1, lambda _: None)
    cold = solve_many(case30, injection, topology, options=Options(retry=False))
    np.testing.assert_array_equal(batch.iterations[good], cold.iterations[good])
    assert good.size > 20
    state = batch.state[good]
    scale = cost_scale(arrange(build_problem(case30), RELAX), state.s[0])
    assert np.nanmax(scale * state.slack * state.limit_price) < 1e-6


def test_states_are_within_the_width_and_cut_nothing_off(case30):
    injection, topology = draw_states(case30, 500, 0.2, 0.5, np.random.default_rng(4))
    load_ = np.flatnonzero(~case30.grid.dispatchable & (case30.injection.p[0] != 0))
    factor = injection.p[:, load_] / case30.injection.p[0, load_]
    assert 0.8 <= factor.min() < 0.82
    assert 1.18 < factor.max() <= 1.2
    opened = (topology.closed != case30.topology.closed).sum(axis=1)
    assert set(opened.tolist()) == {0, 1}
    bridge = case30.grid.branch_label.index("line:34 (25-26)")
    assert bridge not in safe_outages(case30)
    assert topology.closed[:, bridge].all()


def test_differences_along_a_tree_can_be_undone(case30):
    turn = differences(build_problem(case30))
    assert np.linalg.matrix_rank(turn) == 30
    np.testing.assert_array_equal(np.sort(np.abs(turn).sum(axis=1)), [1.0, *[2.0] * 29])


@pytest.mark.parametrize("wrong", ({"states": 10}, {"width": 1.5}, {"outages": -0.1}))
def test_senseless_options_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainOptions(**wrong)


def test_the_command_writes_weights_that_the_other_takes(cli, tmp_path):
    case, out = pglib_files.path_of("14_ieee"), tmp_path / "w.safetensors"
    ran = cli("train", "warm-start", case, "--states", 300, "--epochs", 2, "--out", out)
    assert ran.code == 0
    assert "Weights:" in ran.err
    ran = cli("opf", case, "--weights", out, "--json")
    assert ran.code == 0
    assert ran.document["cost"] == pytest.approx(pglib_files.published("14_ieee"), rel=5e-5)
    ran = cli("opf", pglib_files.path_of("30_ieee"), "--weights", out)
    assert ran.code == 2
    assert "belong to a grid of 14 nodes" in ran.err
    ran = cli("train", "warm-start", case, "--width", 200, "--out", out)
    assert ran.code == 2
