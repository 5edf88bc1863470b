"""The policy in which a network proposes: what it promises, and files that are none of its own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import scenarios
from gridrl import policies
from gridrl.env.choices import all_choices
from gridrl.env.simulate import compare
from gridrl.env.world import World
from gridrl.errors import PolicyError
from gridrl.policies.gnn import OrderScorer, Shape
from gridrl.policies.learned import best_of
from gridrl.policies.weights import load_weights, save_weights
from gridrl.training.states import Trouble, draw_states


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def world() -> World:
    return scenarios.load("ieee14").world()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "policy.safetensors"
    torch.manual_seed(0)
    save_weights(OrderScorer(Shape(hidden=8, layers=1)), path, {"steps": 0})
    return path


@pytest.mark.parametrize("propose", ("network", "screen", "random"))
def test_it_simulates_no_more_than_k_and_takes_what_is_best_of_them(
    world: World, weights: Path, propose: str
) -> None:
    choices = all_choices(world)
    state = draw_states(world, choices, 60, np.random.default_rng(2), Trouble(most_outages=0))
    policy = policies.load(
        "learned", k=5, weights=str(weights), propose=propose, preventive=False, threshold=0.5
    )
    decision = policy.decide(world, choices, state, np.random.default_rng(0))
    assert decision.active.sum() > 10
    closing = (~state.closed).sum(axis=1)  # tried first, and doing nothing beside them
    assert (decision.candidates <= 5 + closing + (closing > 0)).all()
    assert (decision.number > 0).sum() >= 3
    found = compare(world, state, choices, decision.number[:, None])
    known = np.isfinite(decision.after)
    np.testing.assert_allclose(found.worst[known, 0], decision.after[known], atol=1e-9)
    idle = compare(world, state, choices, np.zeros((state.batch, 1), np.int64)).worst[:, 0]
    # never more overload than doing nothing leaves
    assert (np.maximum(decision.after, 0.5) <= np.maximum(idle, 0.5) + 1e-9)[known].all()


def test_what_is_decided_does_not_depend_on_the_batch(world: World, weights: Path) -> None:
    choices = all_choices(world)
    state = draw_states(world, choices, 16, np.random.default_rng(3), Trouble())
    policy = policies.load("learned", k=3, weights=str(weights))
    whole = policy.decide(world, choices, state, np.random.default_rng(0))
    from gridrl.env.simulate import taken

    for b in range(0, state.batch, 3):
        alone = policy.decide(world, choices, taken(state, np.array([b])), np.random.default_rng(0))
        assert alone.number[0] == whole.number[b]
        assert alone.reason[0] == whole.reason[b]


def test_the_best_allowed_ones_are_chosen_and_doing_nothing() -> None:
    allowed = np.array([[True, True, False, True, True]])
    chosen = best_of(np.array([[-9.0, 1.0, 5.0, 3.0, 2.0]]), allowed, 2)
    assert chosen.tolist() == [[True, False, False, True, True]]
    none = best_of(np.zeros((1, 5)), np.zeros((1, 5), np.bool_), 3)
    assert none.tolist() == [[True, False, False, False, False]]


def test_weights_come_back_as_they_were(weights: Path) -> None:
    torch.manual_seed(0)
    wanted = OrderScorer(Shape(hidden=8, layers=1)).state_dict()
    found = load_weights(str(weights)).state_dict()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def _without_kind(path: Path) -> None:
    save_file({"x": np.zeros(3, np.float32)}, path)


def _no_safetensors(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 this could be a pickle")


def _too_wide(path: Path) -> None:
    torch.manual_seed(0)
    network = OrderScorer(Shape(hidden=8, layers=1))
    save_weights(network, path, {})
    arrays = load_file(path)
    header = {"kind": "gridrl order scorer 1", "history": "{}"}
    shape = json.dumps({"hidden": 16, "layers": 1, "screen": True})
    save_file(arrays, path, metadata=header | {"shape": shape})


def _too_deep(path: Path) -> None:
    header = {"kind": "gridrl order scorer 1", "history": "{}"}
    shape = json.dumps({"hidden": 10**9, "layers": 10**9, "screen": True})
    save_file({"x": np.zeros(3, np.float32)}, path, metadata=header | {"shape": shape})


@pytest.mark.parametrize("spoil", (_without_kind, _no_safetensors, _too_wide, _too_deep))
def test_other_files_are_refused_in_a_sentence(tmp_path: Path, spoil: object) -> None:
    path = tmp_path / "odd.safetensors"
    assert callable(spoil)
    spoil(path)
    with pytest.raises(PolicyError, match="odd"):
        policies.load("learned", weights=str(path))


def test_a_missing_file_and_odd_options_are_refused(weights: Path) -> None:
    with pytest.raises(PolicyError, match="no weights"):
        policies.load("learned", weights="nowhere.safetensors")
    with pytest.raises(PolicyError, match="propose"):
        policies.load("learned", propose="oracle", weights=str(weights))
    with pytest.raises(PolicyError, match="k is -1"):
        policies.load("learned", k=-1, weights=str(weights))
