"""The screen in passes against the screen of every action with every loss at once."""

import numpy as np

from gridrl.actions import unitary_actions
from gridrl.powerflow.options import FlowOptions
from gridrl.security import n_minus_1
from gridrl.security.topologies import secure_topologies
from gridrl.whatif import screening
from gridrl.whatif.stress import Stress, stressed_case


def test_the_best_actions_are_those_of_a_whole_screen(monkeypatch):
    case = stressed_case(Stress(case="case118", load_scale=1.05, seed=11))
    contingencies, actions = n_minus_1(case), unitary_actions(case)
    base = secure_topologies(case, case.topology, contingencies)
    given = (case, actions, contingencies, FlowOptions(), 8, base)
    quick, covered = screening.screen(*given)
    monkeypatch.setattr(screening, "FINALISTS", 10**9)
    monkeypatch.setattr(screening, "SCREEN_WORK", 1e12)
    whole, _ = screening.screen(*given)
    assert covered > 5000
    # what is better in a screen with all losses is never behind what is worse
    first = quick.ranking()[:500]
    np.testing.assert_allclose(quick.value[first], whole.value[first], rtol=1e-12)
    np.testing.assert_array_equal(first, whole.ranking()[:500])
    assert (quick.worst[first] == whole.worst[first]).mean() > 0.99
