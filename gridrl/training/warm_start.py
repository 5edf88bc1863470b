"""Train a learned start of the optimal power flow on labels from our own solver.

States are drawn around the case: every load within a width of its own, and in half of the states
one branch out of service. Each is solved, and a network learns the full primal-dual state at the
optimum. There, multipliers jump from one set of binding limits to the next where costs are linear,
which a smooth network can only round off.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import nn

from gridrl.case import Case
from gridrl.errors import GridError
from gridrl.grid import Floats, Injection, Ints, Topology
from gridrl.opf.arrange import arrange
from gridrl.opf.batch import OpfBatch, node_loads, opened_lines, solve_many
from gridrl.opf.interior_point import RELAX, Options, cost_scale
from gridrl.opf.problem import OpfProblem, build_problem
from gridrl.opf.solution import OpfStatus
from gridrl.opf.warm_start import WarmStart, activity

Say = Callable[[str], None]

OFTEN = 5e-4  # share of the states in which a limit must bind to be learned
LEAST_STATES, LEAST_GOOD = 200, 100
VALIDATE = 200  # states, besides those learned from, that choose where the interior point begins
STARTS = (1e-2, 3e-3, 1e-3, 1e-4, 1e-5)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What to draw and how to learn."""

    states: int = 40000
    width: float = 0.2  # loads are drawn within 1 - width to 1 + width of the case's
    outages: float = 0.5  # share of the states with a branch out of service
    hidden: int = 256
    epochs: int = 60
    batch: int = 256
    learning_rate: float = 3e-3
    threads: int = 1

    def __post_init__(self) -> None:
        if self.states < LEAST_STATES:
            raise ValueError(f"states is {self.states}; give {LEAST_STATES} or more.")
        if not 0.0 < self.width < 1.0:
            raise ValueError(f"width is {self.width}; give a share between 0 and 1.")
        if not 0.0 <= self.outages <= 1.0:
            raise ValueError(f"outages is {self.outages}; give a share between 0 and 1.")


def draw_states(
    case: Case, size: int, width: float, outages: float, rng: np.random.Generator
) -> tuple[Injection, Topology]:
    """States around a case, none of which cuts anything off by more than one branch's outage.

    Half of them scale all loads together before each load is moved by itself, so that both the
    total and its distribution cover the width; active and reactive power move apart, too.
    """
    grid, own = case.grid, case.injection
    load = np.flatnonzero(~grid.dispatchable & ((own.p[0] != 0) | (own.q[0] != 0)))
    level = rng.uniform(-width, width, (size, 1)) * (rng.random((size, 1)) < 0.5)
    room = width - np.abs(level)
    p, q = np.repeat(own.p, size, 0), np.repeat(own.q, size, 0)
    together = level + room * rng.uniform(-1.0, 1.0, (size, load.size))
    apart = level + room * rng.uniform(-1.0, 1.0, (size, load.size))
    linked = rng.random((size, 1)) < 0.5  # constant power factors
    p[:, load] *= 1.0 + together
    q[:, load] *= 1.0 + np.where(linked, together, apart)
    closed = np.repeat(case.topology.closed, size, 0)
    out = np.flatnonzero(rng.random(size) < outages)
    candidates = safe_outages(case)
    if candidates.size:
        closed[out, rng.choice(candidates, out.size)] = False
    return (
        Injection(p=p, q=q, v_set=np.repeat(own.v_set, size, 0)),
        Topology(busbar=np.repeat(case.topology.busbar, size, 0), closed=closed),
    )


def safe_outages(case: Case) -> Ints:
    """Branches in service whose outage cuts nothing off."""
    branch = np.flatnonzero(case.topology.closed[0])
    closed = np.repeat(case.topology.closed, branch.size, 0)
    closed[np.arange(branch.size), branch] = False
    topology = Topology(busbar=np.repeat(case.topology.busbar, branch.size, 0), closed=closed)
    own = case.injection
    size = branch.size
    injection = Injection(
        p=np.repeat(own.p, size, 0),
        q=np.repeat(own.q, size, 0),
        v_set=np.repeat(own.v_set, size, 0),
    )
    _, _, shared = opened_lines(build_problem(case), injection, topology)
    return branch[shared]


def label(
    case: Case, injection: Injection, topology: Topology, threads: int, say: Say
) -> tuple[OpfBatch, Ints]:
    """Solve states; and which of them have an optimum on the common pattern."""
    said = 0

    def progress(done: int, total: int) -> None:
        nonlocal said
        if 10 * done // total > said:
            said = 10 * done // total
            say(f"solved {done} of {total} states")

    batch = solve_many(
        case, injection, topology, threads=threads, keep_state=True,
        options=Options(retry=False), progress=progress,
    )  # fmt: skip
    good = np.flatnonzero(batch.shared & (batch.status == OpfStatus.OPTIMAL))
    return batch, good


def train(
    case: Case,
    rng: np.random.Generator,
    *,
    options: TrainOptions | None = None,
    say: Say = lambda _: None,
) -> WarmStart:
    """Draw, solve and learn.

    Raises
    ------
    GridError
        Hardly any of the states has an optimum.
    """
    options = options or TrainOptions()
    problem = build_problem(case)
    injection, topology = draw_states(case, options.states, options.width, options.outages, rng)
    batch, good = label(case, injection, topology, options.threads, say)
    if good.size < LEAST_GOOD:
        raise GridError(
            f"Only {good.size} of {options.states} states of {case.grid.name} have an optimum. "
            "Draw more states or a smaller width."
        )
    assert batch.state is not None
    state = batch.state[good]
    scale = cost_scale(arrange(problem, RELAX), state.s.mean(axis=0))
    # A limit binds where its weighted multiplier outweighs its slack.
    every = np.arange(state.slack.shape[1])
    binds = (activity(state, every, scale) < 0.0).mean(axis=0) > OFTEN
    limit = np.flatnonzero(binds)
    loads = node_loads(problem, case.injection)[0]
    difference = (node_loads(problem, injection)[good] - loads).reshape(good.size, -1)
    columns = np.flatnonzero(difference.std(axis=0) > 0)
    say(f"{good.size} states, {limit.size} limits that bind in some of them")
    empty = WarmStart(
        from_node=problem.from_node, to_node=problem.to_node, y=problem.y.view(np.float64),
        source_node=problem.sources.node, loads=loads, input=columns, limit=limit,
        scale=np.array([scale]), mu=np.array([STARTS[0]]),
        weight_1=_none(2), bias_1=_none(1), weight_2=_none(2), bias_2=_none(1), weight_3=_none(2),
        bias_3=_none(1),
    )  # fmt: skip
    x = empty.inputs(problem, _some(injection, good), _chosen(topology, good))
    target = np.concatenate(
        [
            state.va, state.v, state.s, state.balance_price.reshape(good.size, -1),
            activity(state, limit, scale),
        ],
        axis=1,
    )  # fmt: skip
    learned = _learn(empty, problem, x, target, rng, options, say)
    return _tuned(learned, problem, rng, options, say)


def _tuned(
    learned: WarmStart,
    problem: OpfProblem,
    rng: np.random.Generator,
    options: TrainOptions,
    say: Say,
) -> WarmStart:
    """With the product of slacks and multipliers that takes the fewest iterations to begin with."""
    case = problem.case
    drawn = draw_states(case, VALIDATE, options.width, options.outages, rng)
    start = learned.predict(problem, *drawn)
    quick = Options(retry=False, max_iterations=100)
    cold = solve_many(case, *drawn, options=quick, threads=options.threads)
    best, fewest = STARTS[0], np.inf
    for mu in STARTS:
        warm = solve_many(
            case, *drawn, warm=replace(start, mu=mu), options=quick, threads=options.threads
        )
        solved = cold.ok & warm.ok
        # Where the start leads nowhere, the cold one comes on top.
        mean = float((warm.iterations + np.where(warm.ok, 0, cold.iterations))[cold.ok].mean())
        if solved.any() and mean < fewest:
            best, fewest = mu, mean
    before = float(cold.iterations[cold.ok].mean())
    say(f"{fewest:.1f} iterations instead of {before:.1f} on {VALIDATE} other states")
    return replace(learned, mu=np.array([best]))


def _none(dimensions: int) -> np.ndarray:
    return np.zeros((0,) * dimensions, np.float32)


def _some(injection: Injection, which: Ints) -> Injection:
    return Injection(p=injection.p[which], q=injection.q[which], v_set=injection.v_set[which])


def _chosen(topology: Topology, which: Ints) -> Topology:
    return Topology(busbar=topology.busbar[which], closed=topology.closed[which])


def differences(problem: OpfProblem) -> Floats:
    """[n_node, n_node] voltages of nodes to differences along a spanning tree, from its root.

    Across a branch of little impedance a small error of a difference is a large error of power; in
    differences, each is learned relative to its own spread.
    """
    n = problem.n_node
    z = 1.0 / np.maximum(np.abs(problem.y[:, 1]), 1e-9)
    graph = coo_array((z, (problem.from_node, problem.to_node)), shape=(n, n)).tocsr()
    tree = minimum_spanning_tree(graph)
    out = np.eye(n)
    for root in problem.reference:
        order, parent = breadth_first_order(tree, int(root), directed=False)
        out[order[1:], parent[order[1:]]] = -1.0
    return out


def _learn(
    empty: WarmStart,
    problem: OpfProblem,
    x: np.ndarray,
    target: Floats,
    rng: np.random.Generator,
    options: TrainOptions,
    say: Say,
) -> WarmStart:
    """Fit the network to standardised targets; fold all scaling into its first and last layer."""
    n = problem.n_node
    turn = differences(problem)
    back = np.linalg.inv(turn)
    z = target.copy()
    z[:, :n] = target[:, :n] @ turn.T
    z[:, n : 2 * n] = target[:, n : 2 * n] @ turn.T
    mean, spread = z.mean(axis=0), np.maximum(z.std(axis=0), 1e-7)
    n_load = empty.input.size
    x_mean, x_spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-7)
    x_mean[n_load:], x_spread[n_load:] = 0.0, 1.0 / 4.0
    net = _fit((x - x_mean) / x_spread, ((z - mean) / spread).astype(np.float32), rng, options, say)
    first, second, last = (
        [part.detach().double().numpy() for part in (layer.weight.T, layer.bias)]
        for layer in net
        if isinstance(layer, nn.Linear)
    )
    weight_1 = first[0] / x_spread[:, None]
    weight_3, bias_3 = last[0] * spread, last[1] * spread + mean
    for part in (slice(0, n), slice(n, 2 * n)):
        weight_3[:, part] = weight_3[:, part] @ back.T
        bias_3[part] = back @ bias_3[part]
    return replace(
        empty,
        weight_1=weight_1.astype(np.float32),
        bias_1=(first[1] - x_mean @ weight_1).astype(np.float32),
        weight_2=second[0].astype(np.float32), bias_2=second[1].astype(np.float32),
        weight_3=weight_3.astype(np.float32), bias_3=bias_3.astype(np.float32),
    )  # fmt: skip


def _fit(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator, options: TrainOptions, say: Say
) -> nn.Sequential:
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    torch.manual_seed(int(rng.integers(2**31)))
    net = nn.Sequential(
        nn.Linear(x.shape[1], options.hidden), nn.SiLU(),
        nn.Linear(options.hidden, options.hidden), nn.SiLU(),
        nn.Linear(options.hidden, y.shape[1]),
    )  # fmt: skip
    xs, ys = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)), torch.from_numpy(y)
    steps = -(-x.shape[0] // options.batch)
    optimiser = torch.optim.AdamW(net.parameters(), options.learning_rate, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.learning_rate, total_steps=options.epochs * steps
    )
    began = time.perf_counter()
    for epoch in range(options.epochs):
        total = 0.0
        order = torch.randperm(x.shape[0], generator=generator)
        for k in range(0, x.shape[0], options.batch):
            part = order[k : k + options.batch]
            loss = (net(xs[part]) - ys[part]).square().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * part.numel()
        if 10 * (epoch + 1) // options.epochs > 10 * epoch // options.epochs:
            loss_now, seconds = total / x.shape[0], time.perf_counter() - began
            say(f"epoch {epoch + 1} of {options.epochs}, loss {loss_now:.4f}, {seconds:.0f} s")
    return net
