"""What is written down of a batch of episodes while they are played, and a row when one ends."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.observe import facts_of
from gridrl.env.state import Ending, Orders, Outcome, State
from gridrl.env.world import World
from gridrl.policies.outages import after_outages
from gridrl.policies.policy import Decision
from gridrl.policies.rules import away_from_reference
from gridrl.rewards import PHYSICAL

Row = dict[str, Any]
# Decision times are kept as counts in classes of equal ratio: their quantiles are right to 2 %.
CLASSES_PER_E = 50
DIGITS = 6
SUMS = (
    "overload_steps", "overload_line_steps", "n1_insecure_steps", "n1_steps", "losses_mwh",
    "redispatch_mwh", "curtailment_mwh", "storage_mwh", "orders", "line_orders",
    "substation_orders", "refused", "trips", "depth_sum", "decisions", "candidates", "solves",
)  # fmt: skip


@dataclass(eq=False, kw_only=True)
class Ledger:
    """Sums over the steps of a batch of episodes."""

    world: World
    hopeless: Bools  # [n_branch] outages that no order can make good
    n1_every: int  # steps between looks at outages; 0: never
    totals: dict[str, Floats]  # [B] each
    depth_max: Ints  # [B]
    times: list[dict[int, int]]  # [B] class of decision time -> count
    trace: list[list[Row]]  # [B] orders that were carried out, with their reasons
    attacks: list[list[list[int]]]  # [B] step, line, steps left

    @classmethod
    def blank(cls, world: World, batch: int, hopeless: Bools, n1_every: int) -> "Ledger":
        return cls(
            world=world, hopeless=hopeless, n1_every=n1_every,
            totals={name: np.zeros(batch) for name in SUMS}, depth_max=np.zeros(batch, np.int64),
            times=[{} for _ in range(batch)], trace=[[] for _ in range(batch)],
            attacks=[[] for _ in range(batch)],
        )  # fmt: skip

    def note(
        self, which: Ints, before: State, decision: Decision, after: State, outcome: Outcome,
        seconds: float,
    ) -> None:  # fmt: skip
        """One step of the members ``which``, whose states and orders are given."""
        facts = facts_of(self.world, before, after, outcome)
        terms = dict(zip(PHYSICAL.names, PHYSICAL(facts).T, strict=True))
        over = np.nan_to_num(after.rho) > 1.0
        alive = facts.alive
        add = {
            "overload_steps": over.any(axis=1) & alive,
            "overload_line_steps": over.sum(axis=1) * alive,
            "losses_mwh": -terms["losses"], "redispatch_mwh": -terms["redispatch"],
            "curtailment_mwh": -terms["curtailment"], "storage_mwh": -terms["storage"],
            "orders": decision.number != 0, "line_orders": outcome.line_hit.sum(axis=1),
            "substation_orders": outcome.substation_hit.sum(axis=1),
            "refused": facts.refused, "trips": facts.tripped, "decisions": decision.active,
            "candidates": decision.candidates, "solves": decision.solves,
        }  # fmt: skip
        depth = away_from_reference(self.world, after).sum(axis=1) * alive
        depth = depth + (self.world.case.topology.closed & ~after.closed).sum(axis=1) * alive
        add["depth_sum"] = depth
        self._note_outages(after, alive, add)
        for name, value in add.items():
            self.totals[name][which] += value
        self.depth_max[which] = np.maximum(self.depth_max[which], depth)
        self._note_times(which, decision, seconds)
        self._note_events(which, before, decision, after)

    def _note_outages(self, after: State, alive: Bools, add: dict[str, Any]) -> None:
        due = alive & (after.steps % self.n1_every == 0) if self.n1_every else alive & False
        insecure = np.zeros(after.batch, np.bool_)
        if due.any():
            found = after_outages(self.world, after, due)
            insecure = found.insecure(self.hopeless) & due
        add["n1_insecure_steps"], add["n1_steps"] = insecure, due

    def _note_times(self, which: Ints, decision: Decision, seconds: float) -> None:
        """The time of the call belongs to those for whom something was looked for."""
        busy = which[decision.active].tolist()
        if not busy:
            return
        at = int(np.floor(CLASSES_PER_E * np.log(max(seconds / len(busy), 1e-9))))
        for b in busy:
            self.times[b][at] = self.times[b].get(at, 0) + 1

    def _note_events(self, which: Ints, before: State, decision: Decision, after: State) -> None:
        for row, b in enumerate(which.tolist()):
            if decision.number[row] != 0:
                entry = spelled(decision.orders, row, self.world)
                entry |= {"step": int(before.steps[row]), "why": decision.reason[row]}
                self.trace[b].append(entry)
            line, left = int(after.attacked[row]), int(after.attack_left[row])
            again = before.attacked[row] == line and before.attack_left[row] == left + 1
            if line >= 0 and not again:
                self.attacks[b].append([int(before.steps[row]), line, left])

    def row(self, b: int, state: State) -> Row:
        """What there is to say of member ``b``, whose episode is over."""
        steps, horizon = int(state.steps[b]), int(state.last[b] - state.first[b])
        sums = {name: _plain(value[b]) for name, value in self.totals.items()}
        depth = sums.pop("depth_sum")
        return {
            "steps": steps, "horizon": horizon, "steps_pct": 100.0 * steps / horizon,
            "survived": bool(state.ending[b] == Ending.SURVIVED),
            "ending": Ending(int(state.ending[b])).name, **sums,
            "depth_mean": round(depth / max(steps, 1), DIGITS),
            "depth_max": int(self.depth_max[b]),
            "times": {str(k): n for k, n in sorted(self.times[b].items())},
            "attacks": self.attacks[b], "trace": self.trace[b],
        }  # fmt: skip


def _plain(value: float) -> int | float:
    return int(value) if float(value).is_integer() else round(float(value), DIGITS)


def spelled(orders: Orders, b: int, world: World) -> Row:
    """Orders to one state without what they leave alone; powers in MW."""
    base = world.case.grid.s_base_mva
    out: Row = {}
    for name, scale in (
        ("set_busbar", 0), ("set_line", 0), ("redispatch", base), ("curtail", 1.0),
        ("storage", base),
    ):  # fmt: skip
        value = getattr(orders, name)
        if value is None:
            continue
        asked = ~np.isnan(value[b]) if name == "curtail" else value[b] != 0
        if asked.any():
            out[name] = {
                str(k): float(value[b, k] * scale) if scale else int(value[b, k])
                for k in np.flatnonzero(asked)
            }
    return out


def read_orders(entry: Row, world: World) -> Orders:
    """[1] the orders that `spelled` wrote."""
    grid, fleet = world.case.grid, world.fleet
    base = grid.s_base_mva
    made: dict[str, Any] = {}
    for name, width, kind, rest, scale in (
        ("set_busbar", grid.n_terminal, np.int8, 0, 1),
        ("set_line", grid.n_branch, np.int8, 0, 1),
        ("redispatch", fleet.n_gen, np.float64, 0.0, base),
        ("curtail", fleet.n_gen, np.float64, np.nan, 1.0),
        ("storage", fleet.n_storage, np.float64, 0.0, base),
    ):
        asked = entry.get(name)
        if asked:
            values = np.full((1, width), rest, kind)
            for k, value in asked.items():
                values[0, int(k)] = value if scale == 1 else value / scale
            made[name] = values
    return Orders(**made)
