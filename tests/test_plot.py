"""Pictures: drawn for every kind of grid, and the layout says where things are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gridrl
from gridrl.case import Case
from gridrl.layout import positions


def without_positions(case: Case) -> Case:
    nowhere = np.full(case.grid.n_bus, np.nan)
    return replace(case, grid=replace(case.grid, bus_x=nowhere, bus_y=nowhere))


@pytest.mark.parametrize("name", ("case39", "example_multivoltage", "case33bw"))
@pytest.mark.parametrize("suffix", (".png", ".svg"))
def test_a_picture_is_written(name: str, suffix: str, tmp_path: Path) -> None:
    case = gridrl.load(name)
    path = tmp_path / f"grid{suffix}"
    gridrl.plot_grid(case, gridrl.flow(case), path=path)
    start = path.read_bytes()[:200]
    assert start.startswith(b"\x89PNG") if suffix == ".png" else b"<?xml" in start


def test_the_picture_ranks_the_worst_and_marks_what_is_open(case39: Case) -> None:
    case = gridrl.open_elements(case39, ["line:3"])
    result = gridrl.flow(case)
    figure = gridrl.plot_grid(case, result, n_worst=5)
    axes, side = figure.axes[:2]
    legend = side.get_legend()
    assert legend is not None
    shown = {text.get_text() for text in legend.get_texts()}
    assert {"over 100 %", "out of service", "bus"} <= shown
    assert "bus without supply" not in shown
    badges = {text.get_text() for text in axes.texts if text.get_bbox_patch() is not None}
    assert badges == set("12345")
    loading = 100 * result.loading(0)
    worst = int(np.nanargmax(loading))
    listed = "".join(text.get_text() for text in side.texts).splitlines()
    assert listed[1].split()[:2] == ["1", f"{loading[worst]:.1f}"]
    assert case.grid.branch_label[worst] in listed[1]


def test_positions_of_the_file_are_used_if_there_are_any(case118: Case) -> None:
    xy, from_file = positions(case118.grid)
    assert from_file
    np.testing.assert_array_equal(xy[case118.grid.bus_substation, 1], case118.grid.bus_y)
    assert not positions(without_positions(case118).grid)[1]


def test_a_computed_layout_keeps_neighbours_near(case118: Case) -> None:
    grid = without_positions(case118).grid
    xy, _ = positions(grid)
    assert np.isfinite(xy).all()
    edge = np.hypot(*(xy[grid.from_substation] - xy[grid.to_substation]).T)
    rng = np.random.default_rng(0)
    pair = rng.integers(grid.n_substation, size=(2, 2000))
    apart = np.hypot(*(xy[pair[0]] - xy[pair[1]]).T)
    # A random drawing has a ratio of 1; this one has 0.19.
    assert np.median(edge) < 0.3 * np.median(apart)
    nearest = np.sort(np.hypot(*(xy[:, None] - xy[None]).T), axis=0)[1]
    assert nearest.min() > 0.02 * np.median(apart), "two substations on one spot"


def test_the_layout_is_the_same_each_time(case118: Case) -> None:
    grid = without_positions(case118).grid
    np.testing.assert_array_equal(positions(grid)[0], positions(grid)[0])


def test_parts_that_hang_apart_do_not_overlap() -> None:
    grid = without_positions(gridrl.load("case14")).grid
    keep = np.array([label.startswith("line") for label in grid.branch_label])
    keep[:3] = False
    cut = replace(
        grid,
        **{
            name: getattr(grid, name)[keep]
            for name in (
                "branch_element from_substation to_substation y_ff y_ft y_tf y_tt b_dc shift_dc "
                "i_max_from i_max_to s_max angle_min angle_max"
            ).split()
        },
    )
    xy, _ = positions(cut)
    assert len(np.unique(xy.round(6), axis=0)) == cut.n_substation
