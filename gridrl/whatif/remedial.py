"""Remedial actions: ranked, explained, and each proved by AC power flows, before and after N-1.

`recommend` searches switching (`gridrl.whatif.search`), changes of injections
(`gridrl.whatif.redispatch`) and, where voltages are outside their limits, set points, taps and
shunts (`gridrl.whatif.voltage`), and says of each what it does, what it moves and what it leaves.
Loading decides, then voltages, see `gridrl.whatif.ranking`; doing nothing is always in the list.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gridrl.actions import (
    Actions,
    action_edit,
    action_elements,
    action_words,
    apply_actions,
    switching_steps,
    unitary_actions,
)
from gridrl.case import Case
from gridrl.security.contingency import Contingencies, n_minus_1
from gridrl.security.result import SecurityResult
from gridrl.security.topologies import secure_topologies, state_of
from gridrl.security.topology_result import TopologySecurity
from gridrl.whatif.outlook import REFUSED, order_of, reference_of, values
from gridrl.whatif.places import find_substation
from gridrl.whatif.ranking import Recommendation, ranked
from gridrl.whatif.remedial_powers import RemedialOptions, Task, dispatched, mended, nothing_done
from gridrl.whatif.remedial_result import RemedialResult
from gridrl.whatif.search import (
    Proposer,
    ScreenProposer,
    Search,
    nearest_actions,
    nearest_substations,
    search,
)

Say = Callable[[str], None]


DEFAULT = RemedialOptions()


def recommend(
    case: Case,
    *,
    options: RemedialOptions = DEFAULT,
    contingencies: Contingencies | None = None,
    known: SecurityResult | None = None,
    proposer: Proposer | None = None,
    progress: Say | None = None,
) -> RemedialResult:
    """Find what relieves the overloads of a case, before and after each contingency.

    Parameters
    ----------
    contingencies
        By default N-1 over all lines, transformers and generators in service.
    known
        What `gridrl.security` found of this very case, with its contingencies: not solved again.
    proposer
        Names the switching actions worth an AC power flow; by default the DC screen does.
    progress
        Called with what begins.

    Raises
    ------
    ElementError
        An option names an element or bus that the case does not have.

    Examples
    --------
    >>> import gridrl
    >>> from gridrl.whatif.remedial import recommend
    >>> recommend(gridrl.load("case14")).best.kind
    'voltage'
    """
    say = progress or (lambda _: None)
    contingencies, base = _before(case, options, contingencies, known, say)
    reference = reference_of(base)
    now = float(values(base, reference)[0])
    tried = {"candidates": 0, "screened_dc": 0, "ac_solves": base.solves, "exhaustive_ac_solves": 0}
    task = Task(case, base, contingencies, reference, options, tried, say)
    found = [nothing_done(case, base, now)]
    if now > 1.0:
        actions = _allowed(case, options, base, contingencies)
        switched: list[Recommendation] = []
        if options.switching:
            result = search(
                case, actions, contingencies, reference, base, options=options.flow,
                share=options.share, pairs=options.combinations, enough=options.top,
                proposer=proposer or ScreenProposer(), progress=say,
            )  # fmt: skip
            switched = _switching(case, result)
            tried |= {
                "candidates": len(actions), "screened_dc": result.screened,
                "ac_solves": result.solves,
                "exhaustive_ac_solves": len(actions) * (len(contingencies) + 1),
            }  # fmt: skip
        found += switched
        found += dispatched(task, switched)
    found += mended(task, found)
    return RemedialResult(
        case=case, contingencies=contingencies, reference=reference, base=base,
        recommendations=tuple(ranked(found, options.top)), tried=tried, flow=options.flow,
    )  # fmt: skip


def _before(
    case: Case, options: RemedialOptions, contingencies: Contingencies | None,
    known: SecurityResult | None, say: Say,
) -> tuple[Contingencies, TopologySecurity]:  # fmt: skip
    """The contingencies, and how the case itself stands after them."""
    if known is not None:
        contingencies, base = known.contingencies, state_of(known)
        # a sweep counts the voltages that an outage breaks, not those that stay broken after it
        if not (options.voltage and base.voltage[0]):
            return contingencies, base
    contingencies = n_minus_1(case) if contingencies is None else contingencies
    say(f"solving the case with {len(contingencies)} contingencies")
    return contingencies, secure_topologies(
        case, case.topology, contingencies, options=options.flow
    )


def _allowed(
    case: Case, options: RemedialOptions, base: TopologySecurity, contingencies: Contingencies
) -> Actions:
    """The actions that the options leave, on a large grid those next to what is overloaded."""
    grid = case.grid
    substations = nearest_substations(case, base, contingencies)
    if options.buses is not None:
        substations = np.array([find_substation(grid, bus) for bus in options.buses], np.int64)
    actions = unitary_actions(
        case,
        substations=None if substations is None else substations.tolist(),
        closable=[grid.find_element(name) for name in options.closable],
        locked=[grid.find_element(name) for name in options.locked],
    )
    return nearest_actions(case, actions, base, contingencies)


def _switching(case: Case, result: Search) -> list[Recommendation]:
    """What the search proved, best first."""
    if result.found is None:
        return []
    out = []
    actions, grid = result.actions, case.grid
    for at in order_of(result.value, result.over):
        if result.value[at] >= REFUSED:
            continue
        chosen = result.chosen[int(at)]
        elements = [e for k in chosen for e in action_elements(case, actions, k)]
        kind = "combination" if len(chosen) > 1 else "line"
        if len(chosen) == 1 and actions.substation[chosen[0]] >= 0:
            kind = "split"
        out.append(
            Recommendation(
                kind=kind, action="; ".join(action_words(case, actions, k) for k in chosen),
                elements=tuple(grid.element_label[e] for e in dict.fromkeys(elements)),
                steps=sum(switching_steps(case, actions, k) for k in chosen), moved_mw=0.0,
                cost=0.0, cost_unit="", edits=tuple(action_edit(case, actions, k) for k in chosen),
                case=replace(case, topology=apply_actions(case, actions, [chosen])),
                found=result.found.state(int(at)), value=float(result.value[at]),
                places=frozenset(_place(actions, k) for k in chosen),
            )
        )  # fmt: skip
    return out


def _place(actions: Actions, k: int) -> str:
    s = int(actions.substation[k])
    return f"substation {s}" if s >= 0 else f"element {int(actions.element[k])}"


__all__ = ["Recommendation", "RemedialOptions", "RemedialResult", "recommend"]
