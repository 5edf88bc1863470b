"""The network that scores orders: what it may depend on, and that it learns flows."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import scenarios
from gridrl.env.action_sets import choices_of
from gridrl.env.choices import Choices
from gridrl.env.observe import observe
from gridrl.env.state import State
from gridrl.env.step import reset, step
from gridrl.env.view import static_of
from gridrl.env.world import World
from gridrl.graphs.candidate import CandidateView
from gridrl.policies.gnn import GraphTensors, OrderScorer, Scores, Shape
from gridrl.policies.screen import Screen
from gridrl.policies.tokens import Tokens, tokens_of
from tests.graphs.test_graphs import relabelled


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine take a hundred times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world() -> World:
    return scenarios.load("ieee14").world()


@pytest.fixture(scope="module")
def network() -> OrderScorer:
    torch.manual_seed(0)
    return OrderScorer()


def _states(world: World) -> State:
    return reset(world, np.random.default_rng(0), episode=np.array([0, 1, 2]))


def _scores(
    network: OrderScorer, world: World, state: State, choices: Choices
) -> tuple[Scores, Tokens]:
    view = CandidateView(static_of(world))
    tokens = tokens_of(view, choices.set_busbar, choices.set_line)
    with torch.no_grad():
        return network(_graphs(world, state), tokens, _estimates(world, state, choices)), tokens


def _graphs(world: World, state: State) -> GraphTensors:
    view = CandidateView(static_of(world))
    return GraphTensors.of(view(observe(world, state, forecasts=True, ends=True)))


def _estimates(world: World, state: State, choices: Choices) -> torch.Tensor:
    return torch.from_numpy(Screen(world, choices)(state).features())


def test_it_is_small(network: OrderScorer) -> None:
    weights = network.state_dict()
    assert sum(value.numel() for value in weights.values()) <= 250_000
    assert sum(value.numel() * value.element_size() for value in weights.values()) <= 2e6


def test_the_order_of_elements_does_not_matter(network: OrderScorer, world: World) -> None:
    other, order = relabelled(world, 5)
    choices = choices_of(world)
    place = np.argsort(order["substation"])
    moved = Choices(
        set_busbar=choices.set_busbar[:, order["terminal"]],
        set_line=choices.set_line[:, order["branch"]],
        substation=np.where(choices.substation >= 0, place[choices.substation], -1),
        words=choices.words,
    )
    ours, _ = _scores(network, world, _states(world), choices)
    theirs, _ = _scores(network, other, _states(other), moved)
    for name in ("logit", "loading", "value"):
        # float32 over four layers; flows of the two orders agree to 1e-7
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-4)


def test_quantiles_do_not_cross(network: OrderScorer, world: World) -> None:
    scores, _ = _scores(network, world, _states(world), choices_of(world))
    assert (scores.loading.diff(dim=2) >= 0).all()


def test_tokens_of_a_configuration_are_the_edges_in_use_after_it(world: World) -> None:
    """Seen in the graph of the grid after the order was carried out."""
    choices = choices_of(world, "substations")
    view = CandidateView(static_of(world))
    tokens = tokens_of(view, choices.set_busbar, choices.set_line)
    number = np.arange(1, len(choices), 7)
    state = reset(world, np.random.default_rng(0), episode=np.zeros(number.size, np.int64))
    after, outcome = step(world, state, choices.orders(state, number))
    fine = after.running & (outcome.verdict == 0) & ~outcome.tripped.any(axis=1)
    assert fine.sum() > number.size // 2
    graphs = view(observe(world, after, forecasts=True, ends=True))
    active = np.concatenate([graphs.edges[r][..., 0] for r in view.attached], axis=1) > 0
    pairs = np.concatenate([pairs for pairs, _ in view.attached.values()], axis=1)
    terminal = np.concatenate([t for _, t in view.attached.values()])
    closed = np.concatenate([after.closed, after.closed, np.ones(after.p.shape, bool)], axis=1)
    of = np.asarray(world.engine.model.node_substation)[pairs[1]]
    for b in np.flatnonzero(fine):
        k = number[b]
        mine = tokens.member[tokens.begin[k] : tokens.begin[k + 1]]
        mine = mine[closed[b, terminal[mine]]]  # an order leaves open lines open
        movable = np.bincount(of, minlength=1)  # edges of the substation, both busbars
        assert movable[choices.substation[k]] >= mine.size
        here = np.flatnonzero(active[b] & (of == choices.substation[k]))
        assert set(mine.tolist()) <= set(here.tolist())
        two_ways = np.isin(here, mine)
        fixed = here[~two_ways]  # terminals with one edge only may not move
        assert (np.bincount(terminal, minlength=1)[terminal[fixed]] == 1).all()


def test_some_orders_score_as_among_all(network: OrderScorer, world: World) -> None:
    choices = choices_of(world)
    whole, tokens = _scores(network, world, _states(world), choices)
    some = np.array([0, 5, 17, len(choices) - 1])
    estimates = _estimates(world, _states(world), choices)[:, some]
    with torch.no_grad():
        part = network(_graphs(world, _states(world)), tokens.some(some), estimates)
    np.testing.assert_allclose(part.logit, whole.logit[:, some], atol=1e-5)
    np.testing.assert_allclose(part.loading, whole.loading[:, some], atol=1e-5)


def test_any_grid_takes_the_same_weights(network: OrderScorer) -> None:
    for name in ("ieee5", "ieee30"):
        other = scenarios.load(name).world()
        scores, tokens = _scores(network, other, _states(other), choices_of(other))
        assert scores.logit.shape == (3, tokens.n_choice)
        assert torch.isfinite(scores.loading).all()


def test_every_weight_learns(network: OrderScorer, world: World) -> None:
    """All but those of storage, which this grid has not; and the orders of one state are learned.

    What they do is what the engine finds after them, where no protection acts.
    """
    torch.manual_seed(1)
    learner = OrderScorer(Shape(screen=False))  # with it, there would be little left to learn
    choices = choices_of(world, "substations")
    one = reset(world, np.random.default_rng(0), episode=np.zeros(1, np.int64))
    every = reset(world, np.random.default_rng(0), episode=np.zeros(len(choices), np.int64))
    after, outcome = step(world, every, choices.orders(every, np.arange(len(choices))))
    known = torch.from_numpy(after.running & ~outcome.tripped.any(axis=1))
    wanted = torch.from_numpy(np.nan_to_num(after.rho).max(axis=1)).float()
    view = CandidateView(static_of(world))
    tokens = tokens_of(view, choices.set_busbar, choices.set_line)
    graphs, estimates = _graphs(world, one), _estimates(world, one, choices)
    optimiser = torch.optim.Adam(learner.parameters(), lr=3e-3)
    for k in range(400):
        scores = learner(graphs, tokens, estimates)
        loss = (scores.loading[0, :, 1] - wanted)[known].square().mean()
        optimiser.zero_grad()
        (loss + 1e-3 * (scores.logit.square().mean() + scores.value.square().mean())).backward()
        if k == 0:
            idle = [name for name, p in learner.named_parameters()
                    if (p.grad is None or not p.grad.any()) and "storage" not in name
                    and name != "read.0.weight"]  # fmt: skip
        optimiser.step()
    last = f"layers.{network.shape.layers - 1}."
    # messages and updates of the last layer whose nodes nothing reads
    assert all(name.startswith(last) or "close" in name or "switched" in name for name in idle)
    assert loss < 0.5 * wanted[known].var()  # seen: 0.01 to 0.07
