"""Variants side by side: the same results in any number of threads, and nothing left running."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from gridrl.whatif import Study
from gridrl.whatif.stress import Stress, stressed_case
from gridrl.whatif.workers import Shares, Stopped, side_by_side


def in_threads(study: Study, threads: int) -> Study:
    flow = replace(study.settings.flow, threads=threads)
    return replace(study, settings=replace(study.settings, flow=flow))


@pytest.fixture(scope="module")
def study():
    case = stressed_case(Stress(case="case14", load_scale=1.02, seed=3))
    made = Study(case=case)
    for line in (1, 3, 5, 8):
        made = made.adding(f"line {line}", {"open": f"line:{line}"})
    return made.adding("load", {"scale_load": 1.04})


def test_results_do_not_depend_on_threads(study):
    one, two = (in_threads(study, n).run() for n in (1, 2))
    assert any(result.advice for result in one)
    for a, b in zip(one, two, strict=True):
        assert a.name == b.name
        np.testing.assert_array_equal(a.flow.v, b.flow.v)
        np.testing.assert_array_equal(a.n1.loading, b.n1.loading)
        assert a.advice == b.advice


def test_the_base_comes_first_and_all_come_once(study):
    names = [result.name for result in in_threads(study, 2).solve()]
    assert names[0] == "base"
    assert sorted(names[1:]) == sorted(v.name for v in study.variants)


def test_progress_grows_to_one(study):
    said: list[float] = []
    list(in_threads(study, 2).solve(lambda share, _: said.append(share)))
    assert said == sorted(said)
    assert said[-1] == pytest.approx(1.0)


def test_what_runs_stops_at_its_next_word_and_the_rest_never_begins():
    begun, stopped = [], []
    go = threading.Event()

    def work(item, say):
        begun.append(item)
        if item == 0:
            go.wait(10.0)
            return item
        go.set()
        try:
            for _ in range(1000):
                time.sleep(0.005)
                say(0.5, "still")
        except Stopped:
            stopped.append(item)
            raise
        return item

    results = side_by_side(work, list(range(20)), 2, Shares(None, 0, 20))
    assert next(results) == 0
    results.close()
    assert stopped
    assert len(begun) < 20


def test_an_error_of_one_variant_is_raised():
    def work(item, say):
        if item == 3:
            raise ValueError("third")
        return item

    with pytest.raises(ValueError, match="third"):
        list(side_by_side(work, list(range(8)), 2, Shares(None, 0, 8)))
