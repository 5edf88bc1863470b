"""A learned start for the optimal power flow: the full primal-dual state from loads and outages.

One small network for one grid, evaluated in NumPy. What it says is only where the interior point
begins; the interior point ends at an optimum all the same, or begins anew without it. Training is
in `gridrl.training.warm_start`.

For each limit that binds in some states the network predicts one number: its slack where it does
not bind, else minus its weighted multiplier. That is continuous where the limit begins to bind,
which neither of the two alone is.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from gridrl.case import Case
from gridrl.errors import CaseError, GridError
from gridrl.grid import Floats, Injection, Ints, Topology
from gridrl.opf.batch import node_loads, opened_lines
from gridrl.opf.kernels_batch import TRUST
from gridrl.opf.problem import OpfProblem, build_problem
from gridrl.opf.solution import PrimalDual

Singles = NDArray[np.float32]

FORMAT = "gridrl.opf.warm_start/1"
MAX_BYTES = 64 * 2**20
# Branches of the problem may differ by this much (relative) from those that were trained on.
SAME = 1e-6


@dataclass(frozen=True, eq=False, kw_only=True)
class WarmStart:
    """Weights of a trained network, and the grid that they belong to."""

    from_node: Ints  # [n_line] of the problem
    to_node: Ints  # [n_line]
    y: Floats  # [n_line, 8] admittances, real and imaginary
    source_node: Ints  # [n_source]
    loads: Floats  # [n_node, 6] of the state that inputs are differences from
    input: Ints  # [n_input] entries of ``loads`` that are inputs, flat
    limit: Ints  # [n_limit] inequalities of which the network knows more than the point says
    scale: Floats  # [1] of costs, while multipliers were learned
    mu: Floats  # [1] what slacks times multipliers should begin with
    weight_1: Singles  # [n_input + n_line, n_hidden]
    bias_1: Singles
    weight_2: Singles  # [n_hidden, n_hidden]
    bias_2: Singles
    weight_3: Singles  # [n_hidden, n_output]
    bias_3: Singles

    def fits(self, problem: OpfProblem) -> bool:
        """Whether a problem is that of the grid trained on; loads and limits may differ."""
        return (
            np.array_equal(self.from_node, problem.from_node)
            and np.array_equal(self.to_node, problem.to_node)
            and np.array_equal(self.source_node, problem.sources.node)
            and np.allclose(self.y, problem.y.view(np.float64), rtol=SAME, atol=SAME)
        )

    def predict(
        self,
        problem: OpfProblem,
        injection: Injection | None = None,
        topology: Topology | None = None,
    ) -> PrimalDual:
        """States to begin from, [B]; those of the problem's own case where none are given.

        Raises
        ------
        GridError
            The weights belong to another grid.
        """
        if not self.fits(problem):
            raise GridError(
                f"These weights belong to a grid of {self.loads.shape[0]} nodes and "
                f"{self.from_node.size} branches, not to {problem.case.grid.name}. "
                "`gridrl train warm-start CASE` trains others."
            )
        injection = injection if injection is not None else problem.case.injection
        topology = topology if topology is not None else problem.case.topology
        return self.decode(problem, self.forward(self.inputs(problem, injection, topology)))

    def inputs(self, problem: OpfProblem, injection: Injection, topology: Topology) -> Singles:
        """[B, n_input + n_line] differences of loads, and which lines are open."""
        size = max(injection.batch, topology.batch)
        loads = node_loads(problem, injection) - self.loads
        opened_of, opened, _ = opened_lines(problem, injection, topology)
        x = np.zeros((size, self.input.size + self.from_node.size), np.float32)
        x[:, : self.input.size] = loads.reshape(loads.shape[0], -1)[:, self.input]
        state = np.repeat(np.arange(opened_of.size - 1), np.diff(opened_of))
        rows = state if topology.batch == size else np.arange(size)[:, None]
        x[rows, self.input.size + opened] = 1.0
        return x

    def forward(self, x: Singles) -> Floats:
        """[B, n_output] what the network says."""
        for weight, bias in ((self.weight_1, self.bias_1), (self.weight_2, self.bias_2)):
            x = silu(x @ weight + bias)
        return np.asarray(x @ self.weight_3 + self.bias_3, dtype=np.float64)

    def decode(self, problem: OpfProblem, out: Floats) -> PrimalDual:
        """Outputs as states; slacks that the network does not know are NaN."""
        n, ns = problem.n_node, problem.sources.n
        va, v, s, price, activity = np.split(out, np.cumsum([n, n, ns, 2 * n]), axis=1)
        size, nh = out.shape[0], 2 * n + 2 * ns + 4 * problem.n_line
        slack, limit_price = np.full((size, nh), np.nan), np.zeros((size, nh))
        slack[:, self.limit] = np.maximum(activity, 0.0)
        limit_price[:, self.limit] = np.maximum(-activity, 0.0) / (TRUST * self.scale[0])
        return PrimalDual(
            va=va, v=v, s=s, balance_price=price.reshape(size, n, 2), slack=slack,
            limit_price=limit_price, mu=float(self.mu[0]),
        )  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Write a safetensors file."""
        arrays = {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}
        save_file(arrays, path, metadata={"format": FORMAT})


def silu(x: Singles) -> Singles:
    """The activation: ``x`` times its logistic function."""
    return np.asarray(x / (1.0 + np.exp(-x)))


def activity(state: PrimalDual, limit: Ints, scale: float) -> Floats:
    """[B, n_limit] slack minus weighted multiplier of some inequalities: what is learned."""
    return np.asarray(state.slack[:, limit] - TRUST * scale * state.limit_price[:, limit])


def load(path: str | Path) -> WarmStart:
    """Read weights that `WarmStart.save` has written.

    Raises
    ------
    CaseError
        The file is missing, too large, or holds something else.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CaseError(
                f"{path.name} is larger than {MAX_BYTES >> 20} MiB: no weights of ours."
            )
        with safe_open(path, framework="numpy") as file:
            known = (file.metadata() or {}).get("format")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as missing:
        raise CaseError(f"Cannot read weights {path}: {missing.strerror}.") from None
    except SafetensorError as broken:
        raise CaseError(f"{path.name} is not a safetensors file: {broken}.") from None
    wanted = {f.name for f in fields(WarmStart)}
    if known != FORMAT or set(arrays) != wanted:
        raise CaseError(
            f"{path.name} does not hold weights of a warm start (format {FORMAT}). "
            "`gridrl train warm-start CASE` writes such files."
        )
    found = WarmStart(**arrays)
    _check(path.name, found)
    return found


def _check(name: str, found: WarmStart) -> None:
    """Shapes that fit each other, and finite numbers."""
    n, m, ns = found.loads.shape[0], found.from_node.size, found.source_node.size
    n_input, n_hidden = found.input.size + m, found.bias_1.size
    n_output = 4 * n + ns + found.limit.size
    shapes = {
        "weight_1": (n_input, n_hidden), "weight_2": (n_hidden, n_hidden),
        "weight_3": (n_hidden, n_output), "bias_2": (n_hidden,), "bias_3": (n_output,),
        "to_node": (m,), "y": (m, 8), "loads": (n, 6), "scale": (1,), "mu": (1,),
    }  # fmt: skip
    wrong = [key for key, shape in shapes.items() if getattr(found, key).shape != shape]
    nh = 2 * n + 2 * ns + 4 * m
    for key, size in (("input", 6 * n), ("limit", nh), ("from_node", n), ("source_node", n)):
        index = getattr(found, key)
        if index.dtype != np.int64 or ((index < 0) | (index >= size)).any():
            wrong.append(key)
    wrong += [f.name for f in fields(found) if not np.isfinite(getattr(found, f.name)).all()]
    if wrong:
        raise CaseError(f"{name}: {', '.join(sorted(set(wrong)))} cannot be what was trained.")


def learned_start(case: Case, path: str | Path) -> PrimalDual:
    """Where weights in a file say that the optimum of a case is.

    Raises
    ------
    CaseError
        The file does not hold such weights.
    GridError
        They belong to another grid.
    """
    return load(path).predict(build_problem(case))[0]
