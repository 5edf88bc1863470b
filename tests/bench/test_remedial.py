"""The suite ``remedial``: its exhaustive search, its rows, and wrong use."""

from pathlib import Path

import numpy as np
import pytest

from gridrl.actions import apply_actions, unitary_actions
from gridrl.bench import remedial
from gridrl.bench.document import document, write
from gridrl.bench.remedial_render import summary, tables
from gridrl.security import n_minus_1
from gridrl.security.topologies import secure_topologies
from gridrl.whatif.outlook import reference_of, values
from gridrl.whatif.stress import Stress, stressed_case

# The columns that tables and plots rely on.
FIXED = {
    "case", "worst_n1_pct", "worst_n1_exhaustive_pct", "ac_solves", "ac_solves_exhaustive",
    "found_best",
}  # fmt: skip


@pytest.fixture(scope="module")
def case():
    return stressed_case(Stress(case="case14", load_scale=1.05, outage=("line:3",), seed=1004))


def test_what_the_exhaustive_search_leaves_out_could_not_be_best(case):
    contingencies, actions = n_minus_1(case), unitary_actions(case)
    base = secure_topologies(case, case.topology, contingencies)
    reference = reference_of(base)
    best, at, _ = remedial.exhaustive(case, actions, contingencies, reference)
    every = apply_actions(case, actions, [(k,) for k in range(len(actions))])
    want = values(secure_topologies(case, every, contingencies), reference)
    np.testing.assert_allclose(best, want.min(), atol=1e-9)
    np.testing.assert_allclose(want[at], want.min(), atol=1e-9)


def test_a_row_has_the_fixed_columns_and_is_written(case, tmp_path: Path):
    row = remedial.search_row("one", case)
    assert set(row) >= FIXED
    assert row["ac_solves"] <= row["ac_solves_exhaustive"]
    made = document("remedial", [row], seed=1)
    write(tmp_path / "remedial.json", made)
    assert "| one |" in tables(made)
    assert "1 of 1" in summary(made) or "0 of 1" in summary(made)


def test_the_command_offers_the_tasks_there_are():
    from gridrl.cli.bench import REMEDIAL_TASKS

    assert REMEDIAL_TASKS == remedial.TASKS


@pytest.mark.parametrize(
    ("arguments", "says"),
    (
        (("--task", "nothing"), "No task nothing. There are: search"),
        (("--case", "case15_01"), "No stressed case case15_01"),
    ),
)
def test_wrong_use_is_one_sentence(cli, arguments, says):
    ran = cli("bench", "remedial", *arguments)
    assert ran.code == 2
    assert says in ran.err
