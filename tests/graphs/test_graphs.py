"""Graph views: what they show, that names and order do not matter, and what PyG makes of them."""

from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.typing import NDArray

import gridrl
import gridrl.env
import scenarios
from gridrl.env.observe import observe
from gridrl.env.state import Orders, State
from gridrl.env.step import reset, step
from gridrl.env.view import static_of
from gridrl.env.world import World, build_world
from gridrl.errors import ScenarioError
from gridrl.graphs import VIEWS, GraphBatch, view
from gridrl.graphs.batch import as_arrays, from_arrays
from gridrl.graphs.line import outage_factors
from gridrl.graphs.parts import BUSBAR, LINE, Branches
from gridrl.graphs.pyg import to_batch, to_pyg
from gridrl.grid import Injection, Topology
from gridrl.observation import Observation


@pytest.fixture(scope="module")
def world() -> World:
    return scenarios.load("ieee14").world()


@pytest.fixture(scope="module")
def seen(world: World) -> Observation:
    """Three grids: as built, one split, one with an open line; with trends."""
    state = reset(world, np.random.default_rng(0), episode=np.array([0, 1, 2]))
    choices = gridrl.env.make_vector(world, 1).choices
    split = next(k for k, text in enumerate(choices.words) if text.startswith("split bus 4"))
    opened = next(k for k, text in enumerate(choices.words) if text.startswith("open line:5"))
    before = state.rho
    state, _ = step(world, state, choices.orders(state, np.array([0, split, opened])))
    assert state.running.all()
    return observe(world, state, forecasts=True, ends=True, before=before)


def graphs_of(name: str, world: World, seen: Observation) -> GraphBatch:
    return view(name, static_of(world))(seen)


def test_names_of_features_fit_their_arrays(world: World, seen: Observation) -> None:
    for name in VIEWS:
        made = view(name, static_of(world))
        graphs = made(seen)
        assert made.name == name
        for kind, names in made.node_features.items():
            assert graphs.nodes[kind].shape[0] == 3
            assert graphs.nodes[kind].shape[2] == len(names) == len(set(names))
            assert np.isfinite(graphs.nodes[kind]).all()
        for relation, names in made.edge_features.items():
            index, values = graphs.edge_index[relation], graphs.edges[relation]
            assert values.shape == (3, index.shape[2], len(names))
            for end, kind in ((0, relation[0]), (1, relation[2])):
                assert (index[:, end] >= 0).all()
                assert (index[:, end] < graphs.nodes[kind].shape[1]).all()


def test_an_empty_busbar_is_a_node_and_a_split_fills_it(world: World, seen: Observation) -> None:
    graphs = graphs_of("candidate", world, seen)
    second = int(world.engine.model.second_node[4])
    used = graphs.nodes["busbar"][:, second, BUSBAR.index("used")]
    assert used.tolist() == [0.0, 1.0, 0.0]
    total = graphs.nodes["busbar"][..., BUSBAR.index("terminals")]
    np.testing.assert_allclose(total[0, 4], total[1, 4] + total[1, second])
    relation = ("line", "from_end", "busbar")
    active = graphs.edges[relation][..., 0]
    closed = np.asarray(seen.line_status)
    assert (active.sum(axis=1) == closed.sum(axis=1)).all()  # each end sits on one busbar
    to_second = graphs.edge_index[relation][0, 1] == second
    assert to_second.any()
    assert active[0, to_second].sum() == 0 < active[1].sum()


def test_power_at_busbars_balances(world: World, seen: Observation) -> None:
    """Kirchhoff: what units bring to a busbar leaves it through the branches."""
    graphs = graphs_of("busbar", world, seen)
    relation = ("busbar", "branch", "busbar")
    names = VIEWS["busbar"](static_of(world)).edge_features[relation]
    p_here = graphs.edges[relation][..., names.index("p_here")]
    q_here = graphs.edges[relation][..., names.index("q_here")]
    for power, column in ((p_here, "p"), (q_here, "q")):
        out = np.zeros(graphs.node_mask["busbar"].shape)
        for b in range(3):
            on = graphs.edge_mask[relation][b]
            np.add.at(out[b], graphs.edge_index[relation][b, 0, on], power[b, on])
        brought = graphs.nodes["busbar"][..., BUSBAR.index(column)]
        # float32 features of powers around 1; power flows are solved to 1e-8
        np.testing.assert_allclose(out, brought, atol=2e-5)


def test_impedances_are_those_of_the_file() -> None:
    """Against pandapower's own branch table: with taps, phase shifts and charging."""
    import pandapower as pp
    import pandapower.networks as networks

    for name in ("case14", "case118", "case89pegase"):
        case = gridrl.load(name)
        net = getattr(networks, name)()
        pp.runpp(net)
        table = net._ppc["branch"].real[net._ppc["internal"]["branch_is"]]
        ours = Branches.of(case.grid)
        on = case.topology.closed[0]
        assert on.sum() == len(table)
        np.testing.assert_allclose(ours.r[on], table[:, 2], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(ours.x[on], table[:, 3], rtol=1e-6, atol=1e-9)
        ratio = np.where(table[:, 8] == 0, 1.0, table[:, 8])
        np.testing.assert_allclose(np.exp(ours.log_ratio[on]), ratio, rtol=1e-3)
        np.testing.assert_allclose(ours.shift[on], np.radians(table[:, 9]), atol=1e-9)


def test_outage_factors_say_where_flow_goes() -> None:
    """Against DC flows with the line open: the definition."""
    case = gridrl.load("case14")
    grid = case.grid
    factors = outage_factors(grid)
    incidence = np.zeros((grid.n_branch, grid.n_substation))
    incidence[np.arange(grid.n_branch), grid.from_substation] = 1
    incidence[np.arange(grid.n_branch), grid.to_substation] -= 1
    p = np.random.default_rng(1).standard_normal(grid.n_substation)
    p -= p.mean()

    def flow(b: NDArray[np.float64]) -> NDArray[np.float64]:
        angle = np.linalg.lstsq(incidence.T @ (b[:, None] * incidence), p, rcond=None)[0]
        return np.asarray(b * (incidence @ angle))

    base = flow(grid.b_dc)
    for lost in (0, 6, 12):
        without = np.where(np.arange(grid.n_branch) == lost, 0.0, grid.b_dc)
        gained = flow(without) - base
        others = np.arange(grid.n_branch) != lost
        np.testing.assert_allclose(gained[others], factors[others, lost] * base[lost], atol=1e-9)


# --- order does not matter ------------------------------------------------------------------
def relabelled(world: World, seed: int) -> tuple[World, dict[str, NDArray[np.int64]]]:
    """The same world with substations, branches and units in another order and without names."""
    rng = np.random.default_rng(seed)
    grid = world.case.grid
    order = {
        "substation": rng.permutation(grid.n_substation),
        "branch": rng.permutation(grid.n_branch), "unit": rng.permutation(grid.n_unit),
    }  # fmt: skip
    place = {key: np.argsort(value) for key, value in order.items()}
    sizes = {grid.n_branch: "branch", grid.n_unit: "unit", grid.n_substation: "substation"}
    assert len(sizes) == 3  # told apart by their length
    changed: dict[str, object] = {}
    for field in fields(grid):
        value = getattr(grid, field.name)
        if field.name.startswith(("bus_", "element_")) or not hasattr(value, "__len__"):
            continue
        key = sizes.get(len(value))
        if key and isinstance(value, np.ndarray):
            changed[field.name] = value[order[key]]
        elif key:
            changed[field.name] = tuple(value[k] for k in order[key])
    for name in ("from_substation", "to_substation", "unit_substation"):
        changed[name] = place["substation"][changed[name]]  # type: ignore[index]
    changed["bus_substation"] = place["substation"][grid.bus_substation]
    changed["costs"] = replace(grid.costs, unit=place["unit"][grid.costs.unit])
    changed["substation_name"] = tuple(f"s{k}" for k in range(grid.n_substation))
    n, units = grid.n_branch, order["unit"]
    terminal = np.concatenate([order["branch"], n + order["branch"], 2 * n + units])
    case, old = world.case, world.series
    new = replace(
        case, grid=replace(grid, steps=type(grid.steps).none(), **changed),
        topology=Topology(busbar=case.topology.busbar[:, terminal],
                          closed=case.topology.closed[:, order["branch"]]),
        injection=Injection(p=case.injection.p[:, units], q=case.injection.q[:, units],
                            v_set=case.injection.v_set[:, units]),
        start=None,
    )  # fmt: skip
    series = replace(
        old, p=old.p[:, units], q=old.q[:, units], v_set=old.v_set[:, units],
        p_forecast=old.p_forecast[..., units], q_forecast=old.q_forecast[..., units],
    )  # fmt: skip
    fleet = world.fleet
    gens = rng.permutation(fleet.n_gen)
    columns = "redispatchable renewable p_min p_max ramp_up ramp_down".split()
    moved = replace(
        fleet, gen_unit=place["unit"][fleet.gen_unit[gens]],
        **{name: getattr(fleet, name)[gens] for name in columns},
    )  # fmt: skip
    order["gen"] = gens
    order["terminal"] = terminal
    return build_world(new, series, world.rules, fleet=moved), order


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_another_order_of_elements_permutes_the_graph(world: World, name: str) -> None:
    world = replace(world, opponent=scenarios.load("ieee5").world().opponent)
    other, order = relabelled(world, 3)
    pictures = []
    for which in (world, other):
        state = reset(which, np.random.default_rng(0), episode=np.array([1]))
        here = 4 if which is world else int(np.argsort(order["substation"])[4])
        at = np.flatnonzero(which.case.grid.terminal_substation == here)
        # the same terminals in both worlds, by their number in the first
        known = at if which is world else order["terminal"][at]
        busbar = np.zeros((1, which.case.grid.n_terminal), np.int8)
        busbar[0, at[np.argsort(known)]] = [1, 2, 1, 2, 1, 2][: at.size]
        state, outcome = step(which, state, Orders(set_busbar=busbar))
        assert outcome.verdict[0] == 0
        assert state.running.all()
        pictures.append(described(name, which, state))
    ours, theirs = pictures
    assert ours.keys() == theirs.keys()
    for key in ours:
        # features are float32, flows of the two orders agree to 1e-7
        np.testing.assert_allclose(ours[key], theirs[key], atol=2e-5)


def described(name: str, world: World, state: State) -> dict[str, NDArray[np.float64]]:
    """A graph without its numbering: sorted rows of nodes, and of edges with both their ends."""
    graphs = graphs_of(name, world, observe(world, state, forecasts=True, ends=True))
    out = {kind: ordered(x[0][graphs.node_mask[kind][0]]) for kind, x in graphs.nodes.items()}
    for relation, index in graphs.edge_index.items():
        on = graphs.edge_mask[relation][0]
        source, target = index[0][:, on]
        ends = [graphs.nodes[relation[0]][0, source], graphs.nodes[relation[2]][0, target]]
        out["_".join(relation)] = ordered(
            np.concatenate([graphs.edges[relation][0, on], *ends], axis=1)
        )
    return out


def ordered(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rows in the order of a few random projections, so that rounding does not shuffle them."""
    if not rows.size:
        return rows.astype(np.float64)
    weights = np.random.default_rng(9).standard_normal(rows.shape[1])
    return rows[np.argsort(rows.astype(np.float64) @ weights)].astype(np.float64)


# --- other programs -------------------------------------------------------------------------
def test_pyg_holds_the_same_graphs(world: World, seen: Observation) -> None:
    graphs = graphs_of("busbar", world, seen)
    relation = ("busbar", "branch", "busbar")
    from torch_geometric.utils import is_undirected

    for b, data in enumerate(to_pyg(graphs)):
        data.validate(raise_on_error=True)
        assert data.num_nodes == graphs.node_mask["busbar"][b].sum()
        assert data.num_edges == graphs.edge_mask[relation][b].sum()
        assert is_undirected(data.edge_index)
        source = data.edge_index[0].numpy()
        v_here = data.edge_attr[:, 6].numpy()
        np.testing.assert_allclose(v_here, data.x[source, 0].numpy(), atol=1e-6)
    many = to_batch(graphs)
    assert many.num_graphs == 3
    assert many.u.shape == (3, 5)


def test_pyg_passes_messages_over_candidate_edges(world: World, seen: Observation) -> None:
    import torch
    from torch_geometric.nn import HeteroConv, SAGEConv

    graphs = graphs_of("candidate", world, seen)
    data = to_batch(graphs)
    assert {("line", "from_end", "busbar"), ("busbar", "rev_from_end", "line")} <= set(
        data.edge_types
    )
    torch.manual_seed(0)
    width = {kind: data[kind].x.shape[1] for kind in data.node_types}
    layer = HeteroConv(
        {edge: SAGEConv((width[edge[0]], width[edge[2]]), 8) for edge in data.edge_types}
    )
    out = layer(data.x_dict, data.edge_index_dict)
    assert out["busbar"].shape == (3 * static_of(world).n_node, 8)


def test_arrays_of_an_observation_become_the_graph_again(world: World) -> None:
    env = gridrl.env.make_vector(world, 2, observe_as="graph", steps=4)
    arrays, _ = env.reset(seed=0)
    graphs = from_arrays(arrays, env.graph_view)
    again = as_arrays(graphs)
    assert again.keys() == arrays.keys()
    for key, value in arrays.items():
        np.testing.assert_array_equal(again[key], value)
    one = gridrl.env.make(world, observe_as="graph", steps=4)
    single, _ = one.reset(seed=0)
    assert to_pyg(from_arrays(single, one.graph_view))[0]["line"].x.shape == (20, len(LINE))


def test_a_view_that_does_not_exist_is_named(world: World) -> None:
    with pytest.raises(ScenarioError, match="There are candidate, busbar, substation, line"):
        view("tree", static_of(world))


def test_trends_are_differences_of_loadings(world: World) -> None:
    env = gridrl.env.make_vector(world, 3, observe_as="dict",
                                 observe_fields=["rho", "rho_trend"], steps=3)  # fmt: skip
    first, _ = env.reset(seed=0)
    assert not first["rho_trend"].any()
    for _ in range(2):
        then, *_ = env.step(np.zeros(3, np.int64))
        np.testing.assert_allclose(then["rho_trend"], then["rho"] - first["rho"], atol=1e-6)
        first = then
    begun, *_, infos = env.step(np.zeros(3, np.int64))
    assert infos["_final_obs"].all()
    assert not begun["rho_trend"].any()
    last = infos["final_obs"][0]
    np.testing.assert_allclose(last["rho_trend"], last["rho"] - first["rho"][0], atol=1e-6)
