"""Hostile JSON: nothing named in a file is imported, called, opened or allocated."""

import json
import sys
import textwrap
import time
import tracemalloc
from contextlib import suppress

import numpy as np
import pandapower as pp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gridrl.case import Fate
from gridrl.errors import CaseError, GridrlError
from gridrl.io.pandapower import load_pandapower
from gridrl.io.pandapower_json import MAX_DEPTH, read_pandapower_json
from tests.cases import zoo

_WATCHED = {"import", "exec", "open", "os.system", "subprocess.Popen"}
_logs: list[list] = []  # the log in use, if any: an audit hook cannot be taken off again


def _hook(event, args):
    if _logs and event in _WATCHED:
        _logs[-1].append((event, args))


sys.addaudithook(_hook)


@pytest.fixture(scope="module")
def body():
    """The parsed JSON of a small sound net."""
    return json.loads(pp.to_json(zoo.wild_indices()))


@pytest.fixture(scope="module")
def usual(body, tmp_path_factory):
    """What is opened while a sound file is read; lazy imports happen here."""
    path = tmp_path_factory.mktemp("sound") / "net.json"
    path.write_text(json.dumps(body))
    return watched(path)[1]


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "net.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def changed(body, **items):
    return body | {"_object": body["_object"] | items}


def table(columns, data, index=None):
    content = {"columns": columns, "index": index or list(range(len(data))), "data": data}
    return {
        "_module": "pandas.core.frame",
        "_class": "DataFrame",
        "_object": json.dumps(content),
        "orient": "split",
    }


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A module whose body, function and class would leave a file behind."""
    mark = tmp_path / "sang"
    (tmp_path / "canary_module.py").write_text(
        textwrap.dedent(
            f"""
            from pandapower.io_utils import JSONSerializableClass
            open({str(mark)!r}, "a").close()
            def sing(*args, **kwargs):
                open({str(mark)!r}, "a").close()
            class Singer(JSONSerializableClass):
                def __init__(self, *args, **kwargs):
                    sing()
                from_dict = classmethod(sing)
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return mark


HOSTILE = {
    "module body": {"_module": "canary_module", "_class": "Singer", "_object": {}},
    "function": {"_module": "os", "_class": "function", "_object": "system"},
    "function by name": {"_module": "canary_module", "_class": "function", "_object": "sing"},
    "method": {"_module": "canary_module", "_class": "method", "_object": "Singer.sing"},
    "serialisable class": {
        "_module": "pandapower.timeseries.output_writer",
        "_class": "OutputWriter",
        "_object": {"output_path": "somewhere"},
    },
    "numpy void": {"_module": "numpy", "_class": "void", "_object": 2147483648},
    "numpy array": {"_module": "numpy", "_class": "array", "_object": [1, 2]},
    "eval": {"_module": "builtins", "_class": "eval", "_object": "open('x', 'w')"},
    "nested net": {"_module": "pandapower.auxiliary", "_class": "pandapowerNet", "_object": "{}"},
    "file": {"_module": "pandas.core.frame", "_class": "DataFrame", "_object": "/etc/hostname"},
}


@pytest.mark.parametrize("place", ("entry", "table", "cell", "string cell", "user_pf_options"))
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_in_a_file_is_imported_called_or_opened(body, write, canary, usual, hostile, place):
    cell = hostile if place == "cell" else json.dumps(hostile)
    content = {
        "entry": lambda: changed(body, controller=hostile, extra=hostile),
        "table": lambda: changed(body, load=hostile),
        "cell": lambda: changed(body, controller=table(["object"], [[cell]]), load=bad_loads(cell)),
        "string cell": lambda: changed(body, load=bad_loads(cell)),
        "user_pf_options": lambda: changed(
            body, user_pf_options={"init": hostile, "tdpf": hostile}
        ),
    }[place]()
    path = write(content)
    imported, opened, executed = watched(path)
    assert not canary.exists()
    assert "canary_module" not in sys.modules
    assert opened <= usual | {str(path)}
    assert not executed
    assert not {name for name in imported if "canary" in name or "timeseries" in name}


def watched(path):
    """What is imported, opened and executed while a file is read and converted."""
    seen = []
    _logs.append(seen)
    try:
        with suppress(GridrlError):
            load_pandapower(read_pandapower_json(path)[0], name="x")
    finally:
        _logs.clear()
    imported, opened = ({str(a[0]) for e, a in seen if e == kind} for kind in ("import", "open"))
    return imported, opened, [entry for entry in seen if entry[0] not in ("import", "open")]


def bad_loads(cell):
    return table(
        ["bus", "p_mw", "q_mvar", "scaling", "in_service", "name", "type"],
        [[12, 0.7, 0.2, 1.0, True, cell, cell], [3, cell, 0.2, 1.0, True, None, None]],
    )


def test_the_canary_does_sing_for_from_json(body, write, canary):
    # otherwise the test above would prove nothing
    content = changed(body, extra=HOSTILE["module body"])
    with suppress(Exception):  # whatever it raises, the module has run by then
        pp.from_json(str(write(content)))
    assert canary.exists()


def test_void_and_other_objects_take_no_memory(body, write):
    def peak(content):
        path = write(content)
        read_pandapower_json(path)
        tracemalloc.start()
        read_pandapower_json(path)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(changed(body, extra=HOSTILE["numpy void"])) < peak(body) + 1e6


def test_ignored_entries_are_reported(body, write):
    content = changed(
        body,
        profiles=1,
        custom={"a": 1},
        controller=table(["object", "level"], [["{}", 0], ["{}", 1]]),
        line=body["_object"]["line"],
    )
    rows = {row.kind: row for row in read_pandapower_json(write(content))[1]}
    assert rows["controller"].count == 2
    assert rows["custom"].fate is Fate.REFUSED
    assert set(rows) == {"controller", "custom"}


BROKEN = {
    "deep": ("[" * 100_000 + "]" * 100_000, r"nests 100000 levels deep"),
    "deep in net": (
        '{"_class": "pandapowerNet", "_object": ' + "[" * 200 + "]" * 200 + "}",
        "deep",
    ),
    "not json": ("{", "no valid JSON"),
    "no net": ("[1, 2]", "no pandapower network"),
    "power models": ('{"bus": {}}', "no pandapower network"),
    "empty": (" ", "empty"),
    "twice": ('{"_class": "pandapowerNet", "_class": "x"}', "appears twice"),
    "digits": ('{"_class": "pandapowerNet", "_object": {"sn_mva": ' + "9" * 9999 + "}}", "JSON"),
    "no version": ('{"_class": "pandapowerNet", "_object": {}}', "which pandapower version"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_network_is_refused_in_a_sentence(write, text, message):
    with pytest.raises(CaseError, match=message):
        read_pandapower_json(write(text))


def test_too_big_a_file_is_refused_unread(write, body):
    with pytest.raises(CaseError, match="at most 1000"):
        read_pandapower_json(write(body), max_bytes=1000)


def test_brackets_inside_strings_do_not_count_as_depth(write, body):
    net, _ = read_pandapower_json(write(changed(body, name='["' + "[{" * 10 * MAX_DEPTH)))
    assert net.name.startswith('["[{')


@pytest.mark.parametrize(
    ("name", "value", "message"),
    (
        ("ragged", table(["bus"], [[1], [1, 2]]), "not rectangular"),
        ("columns", table(["bus", "bus"], [[1, 2]]), "not rectangular"),
        ("index", table(["bus"], [[1]], ["a"]), "no whole number"),
        ("big index", table(["bus"], [[1]], [2**70]), "no whole number"),
        ("orient", {"_class": "DataFrame", "_object": {"bus": {"0": 1}}}, "'split' orientation"),
        ("path", {"_class": "DataFrame", "_object": "/etc/passwd.json"}, "no valid JSON"),
    ),
)
def test_tables_of_odd_shape_are_refused(body, write, name, value, message):
    with pytest.raises(CaseError, match=message):
        read_pandapower_json(write(changed(body, load=value)))


@pytest.mark.parametrize("version", ("1.4.0", "99.0.0", "x", 3, None, "3.1.0; import os"))
def test_versions_that_cannot_be_read_are_refused(body, write, version):
    with pytest.raises(CaseError, match=r"format|version"):
        read_pandapower_json(write(changed(body, format_version=version, version="3.5.0")))


@pytest.mark.parametrize("build", (zoo.tap_tables, zoo.wards, zoo.wild_indices, zoo.shunts))
def test_sound_files_give_the_same_grid_as_the_net(build, write):
    net = build()
    want = load_pandapower(net, name="x")
    got = load_pandapower(read_pandapower_json(write(pp.to_json(net)))[0], name="x")
    assert got.grid.element_label == want.grid.element_label
    for field in ("y_ff", "y_ft", "y_tf", "y_tt", "i_max_from", "q_max"):
        # to_json writes 15 digits
        np.testing.assert_allclose(
            getattr(got.grid, field), getattr(want.grid, field), rtol=1e-13, atol=1e-15
        )
    np.testing.assert_allclose(got.injection.p, want.injection.p, rtol=1e-13, atol=1e-15)


def test_tables_encoded_as_objects_are_read_too(body, write):
    items = {
        key: value | {"_object": json.loads(value["_object"])}
        for key, value in body["_object"].items()
        if isinstance(value, dict) and value.get("_class") == "DataFrame"
    }
    got, want = (read_pandapower_json(write(b))[0] for b in (changed(body, **items), body))
    assert load_pandapower(got, name="x").digest == load_pandapower(want, name="x").digest


def test_an_older_format_is_brought_up_to_date(write):
    net = zoo.tap_changers()
    net.trafo = net.trafo[net.trafo.tap_changer_type == "Ratio"].iloc[:2]
    del net.trafo["tap2_changer_type"], net.trafo["tap_dependency_table"]
    net.trafo["tap_phase_shifter"] = False
    del net.trafo["tap_changer_type"]
    net.version = net.format_version = "2.14.0"
    path = write(pp.to_json(net))
    got = load_pandapower(read_pandapower_json(path)[0], name="x")
    want = load_pandapower(pp.from_json(str(path)), name="x")
    assert got.digest == want.digest


scalar = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(scalar, lambda t: st.lists(t, max_size=3) | st.dictionaries(st.text(), t))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_mutated_files_raise_our_errors_or_load(body, write, data):
    key = data.draw(
        st.sampled_from(["bus", "line", "load", "ext_grid", "switch", "sn_mva", "f_hz"])
    )
    value = body["_object"][key]
    if isinstance(value, dict) and data.draw(st.booleans()):
        content = json.loads(value["_object"])
        row = data.draw(st.integers(0, len(content["data"]) - 1))
        column = data.draw(st.integers(0, len(content["columns"]) - 1))
        content["data"][row][column] = data.draw(anything)
        value = value | {"_object": json.dumps(content)}
    else:
        value = data.draw(anything)
    start = time.perf_counter()
    with suppress(GridrlError):
        load_pandapower(read_pandapower_json(write(changed(body, **{key: value})))[0], name="x")
    assert time.perf_counter() - start < 5
