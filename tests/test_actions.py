"""Unitary actions: which there are (counted by Grid2Op), and what applying them does."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gridrl
from gridrl.actions import (
    CLOSE,
    CONFIGURE,
    OPEN,
    action_edit,
    action_words,
    apply_actions,
    switching_steps,
    unitary_actions,
)
from gridrl.case import Case
from gridrl.whatif import apply_edits, parse_edit

# l2rpn_case14_sandbox in Grid2Op 1.12: get_all_unitary_topologies_set by substation, which counts
# doing nothing once for each. 178 in all. Substation 8 has a shunt, which Grid2Op does not see.
GRID2OP = [3, 29, 5, 31, 15, 57, 4, 0, 15, 3, 3, 3, 7, 3]
WITHOUT_ALONE_LINES = [0, 25, 3, 26, 11, 53, 0, 0, 11, 0, 0, 0, 4, 0]
SHUNT_AT = 8


def sandbox() -> Case:
    grid2op = pytest.importorskip("grid2op")
    folder = Path(grid2op.__file__).parent / "data" / "l2rpn_case14_sandbox"
    return gridrl.load(folder / "grid.json")


@pytest.mark.peers
@pytest.mark.parametrize(("alone", "want"), ((True, GRID2OP), (False, WITHOUT_ALONE_LINES)))
def test_there_are_as_many_configurations_as_in_grid2op(alone, want):
    case = sandbox()
    actions = unitary_actions(case, elements=False, alone_line=alone)
    got = np.bincount(actions.substation, minlength=14)
    nothing = np.array(want) > 0
    # With a shunt that stays, the two numberings of the busbars are two configurations.
    want = np.where(np.arange(14) == SHUNT_AT, 2, 1) * (np.array(want) - nothing)
    # A branch end is not alone on a busbar that has the shunt: bus 9 has four ends.
    want[SHUNT_AT] += 0 if alone else 4
    np.testing.assert_array_equal(got, want)


def nodes_of(case, busbar, s):
    """How a substation's terminals are grouped, whatever the numbering: a set of two sets."""
    here = np.flatnonzero(case.grid.terminal_substation == s)
    return frozenset(frozenset(here[busbar[here] == number].tolist()) for number in (1, 2)) - {
        frozenset()
    }


@pytest.mark.parametrize("name", ("case14", "case39", "case118"))
def test_no_two_configurations_are_alike_and_none_is_the_present_one(name):
    case = gridrl.load(name)
    actions = unitary_actions(case, elements=False, most=256)
    topology = apply_actions(case, actions, [(k,) for k in range(len(actions))])
    seen = set()
    for k, s in enumerate(actions.substation):
        found = (int(s), nodes_of(case, topology.busbar[k], int(s)))
        assert len(found[1]) == 2
        assert found not in seen
        seen.add(found)
        others = case.grid.terminal_substation != s
        assert (topology.busbar[k, others] == 1).all()


def test_every_legal_configuration_is_there(case14):
    # Bus 5 (index 4): no shunt, terminals all different. Counted by brute force over all groupings.
    s = 4
    grid = case14.grid
    here = np.flatnonzero(grid.terminal_substation == s)
    branch = here < 2 * grid.n_branch
    want = set()
    for size in range(2, here.size - 1):
        for chosen in itertools.combinations(range(here.size), size):
            on2 = np.isin(np.arange(here.size), chosen)
            if branch[on2].any() and branch[~on2].any():
                want.add(frozenset([frozenset(here[on2]), frozenset(here[~on2])]))
    actions = unitary_actions(case14, elements=False, substations=[s])
    got = apply_actions(case14, actions, [(k,) for k in range(len(actions))])
    assert {nodes_of(case14, row, s) for row in got.busbar} == want


def test_equal_parallel_lines_are_interchangeable(case39):
    grid = case39.grid
    twin = 5  # made a copy of line 4: same ends, same data
    arrays = {
        name: np.array(getattr(grid, name))
        for name in "from_substation to_substation y_ff y_ft y_tf y_tt i_max_from i_max_to".split()
    }
    for array in arrays.values():
        array[twin] = array[4]
    both = replace(case39, grid=replace(grid, **arrays))
    s = int(arrays["from_substation"][4])
    actions = unitary_actions(both, elements=False, substations=[s])
    n_branch = grid.n_branch
    one_of_two = {
        frozenset(t if t % n_branch != twin else t - 1 for t in actions.on_busbar2(k))
        for k in range(len(actions))
        if np.isin(actions.on_busbar2(k) % n_branch, (4, twin)).sum() == 1
        and (actions.on_busbar2(k) < 2 * n_branch).all()
    }
    several = [
        k
        for k in range(len(actions))
        if np.isin(actions.on_busbar2(k) % n_branch, (4, twin)).sum() == 1
        and (actions.on_busbar2(k) < 2 * n_branch).all()
    ]
    assert len(several) == len(one_of_two)


def test_a_split_substation_can_be_joined_or_split_otherwise(case14):
    grid = case14.grid
    actions = unitary_actions(case14, elements=False, substations=[3])
    first = apply_actions(case14, actions, [(0,)])
    split = replace(case14, topology=first)
    again = unitary_actions(split, elements=False, substations=[3])
    assert len(again) == len(actions)  # one less, and joining
    joined = [k for k in range(len(again)) if not again.on_busbar2(k).size]
    assert len(joined) == 1
    back = apply_actions(split, again, [(joined[0],)])
    np.testing.assert_array_equal(back.busbar, case14.topology.busbar)
    assert action_edit(split, again, joined[0]) == {"merge": grid.substation_bus[3]}
    assert switching_steps(split, again, joined[0]) == actions.on_busbar2(0).size


def test_what_is_locked_stays_and_only_what_may_is_closed(case14):
    grid = case14.grid
    opened = gridrl.open_elements(case14, ["line:3"])
    e = grid.find_element("line:3")
    assert not (unitary_actions(opened, substations=()).kind == CLOSE).any()
    actions = unitary_actions(opened, substations=(), closable=[e], locked=[0, 1])
    assert not np.isin(actions.element[actions.kind == OPEN], (0, 1)).any()
    (close,) = np.flatnonzero(actions.kind == CLOSE)
    np.testing.assert_array_equal(
        apply_actions(opened, actions, [(int(close),)]).closed, case14.topology.closed
    )


@pytest.mark.parametrize("name", ("case14", "case39", "case57"))
def test_every_action_is_an_edit_with_the_same_effect(name):
    case = gridrl.load(name)
    actions = unitary_actions(case, most=64)
    rng = np.random.default_rng(3)
    for k in rng.permutation(len(actions))[:60].tolist():
        edited = apply_edits(case, [parse_edit(action_edit(case, actions, k))])
        want = apply_actions(case, actions, [(k,)])
        np.testing.assert_array_equal(edited.topology.closed, want.closed)
        np.testing.assert_array_equal(
            np.where(edited.topology.closed[0].repeat(1)[0], edited.topology.busbar, 0),
            np.where(want.closed[0].repeat(1)[0], want.busbar, 0),
        )
        assert action_words(case, actions, k)


def test_a_combination_does_both(case14):
    actions = unitary_actions(case14)
    line = int(np.flatnonzero(actions.kind == OPEN)[2])
    split = int(np.flatnonzero(actions.kind == CONFIGURE)[0])
    assert actions.compatible(line, split)
    assert not actions.compatible(split, split)
    both = apply_actions(case14, actions, [(line, split)])
    alone = apply_actions(case14, actions, [(line,), (split,)])
    np.testing.assert_array_equal(both.closed[0], alone.closed[0])
    np.testing.assert_array_equal(both.busbar[0], alone.busbar[1])


def test_a_large_substation_keeps_the_configurations_that_move_least(case118):
    s = 48  # bus 49, fourteen terminals
    few = unitary_actions(case118, elements=False, substations=[s], most=40)
    sizes = np.diff(few.moved_of)
    assert 0 < len(few) <= 40
    assert sizes.max() <= 3


def test_two_equal_lines_alone_at_a_bus_leave_nothing_to_split():
    import pandapower as pp

    from gridrl.io.pandapower import load_pandapower

    net = pp.create_empty_network()
    a, b = pp.create_bus(net, 110.0), pp.create_bus(net, 110.0)
    pp.create_ext_grid(net, a)
    for _ in range(2):
        pp.create_line_from_parameters(net, a, b, 10.0, 0.06, 0.3, 9.0, 0.5)
    pp.create_shunt(net, b, q_mvar=-5.0)
    actions = unitary_actions(load_pandapower(net, name="twins"))
    assert (actions.substation < 0).all()
