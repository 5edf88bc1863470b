"""What our policies order, carried out by Grid2Op (backend LightSim)."""

import numpy as np
import pytest

from benchmarks.peers.grid2op_replay import scored
from benchmarks.peers.grid2op_world import no_opponent, shipped
from gridrl.policies import load

pytest.importorskip("grid2op")
pytest.importorskip("lightsim2grid")

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("policy", ("do_nothing", "reconnect", "greedy"))
def test_grids_live_as_long_in_grid2op_under_the_orders_of_a_policy(policy: str) -> None:
    copy = shipped("rte_case5_example", episodes=4, **no_opponent())
    found = scored(copy, load(policy), steps=300)
    assert found["steps"] == found["steps_in_grid2op"]
    assert found["refused"] == 0
    assert np.isclose(found["steps_pct"], found["replayed_in_grid2op"])
