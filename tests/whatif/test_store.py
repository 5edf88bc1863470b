"""The store: what goes in comes out, on SQLite and PostgreSQL, whoever is killed meanwhile."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

import gridrl
from gridrl.errors import StudyError
from gridrl.powerflow.options import FlowOptions
from gridrl.whatif import Store, Study, StudySettings
from gridrl.whatif import schema as schema_module
from gridrl.whatif.database import Database
from gridrl.whatif.results import BASE

QUIET = StudySettings(recommend=False, flow=FlowOptions())  # one thread: in order
ADVICE = {
    "verdict": "one action helps",
    "before": {"worst_loading_percent": 112.0},
    "recommendations": [
        {"rank": 1, "kind": "line", "action": "Open line:3", "verified": True, "cost": None},
        {"rank": 2, "kind": "nothing", "action": "Do nothing", "verified": True, "cost": 0.0},
    ],
    "tried": {"candidates": 9},
}


def small_study() -> Study:
    """Every kind of array: a split, a failure, a tap, a rating, an island."""
    study = Study(case=gridrl.load("case14"), name="small", settings=QUIET)
    study = study.adding("split", {"split": "4", "busbar2": ["line:1", "load:3"]})
    study = study.adding("collapse", {"scale_load": 9})
    study = study.adding("tap", {"tap": "trafo:0", "ratio_percent": 2})
    study = study.adding("rating", {"rating": "line:0", "percent": 50})
    return study.adding("open", {"open": "line:3"}, {"scale_load": 1.05})


@pytest.fixture(params=("sqlite", "postgresql"))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        made = Store(tmp_path / "studies.sqlite")
    else:
        made = Store(request.getfixturevalue("postgresql"))
    with made:
        yield made
        for row in made.studies():
            made.delete(row["id"])


def test_what_is_stored_is_what_was_found(store: Store) -> None:
    study = small_study()
    number = store.begin(study)
    by_name = {result.name: result for result in store.solve(number, study=study)}
    assert store.missing(number) == []
    again = store.result(number)
    found = [by_name[name] for name in again.names]
    assert [r.name for r in again] == [BASE, "split", "collapse", "tap", "rating", "open"]
    for one, other in zip(found, again, strict=True):
        for name in ("v", "s_from", "s_to", "status", "second_node", "lost_demand"):
            np.testing.assert_array_equal(getattr(one.flow, name), getattr(other.flow, name))
        np.testing.assert_array_equal(one.flow.loading(), other.flow.loading())
        assert (one.n1 is None) == (other.n1 is None)
        if one.n1 is not None and other.n1 is not None:
            assert one.n1.contingencies.name == other.n1.contingencies.name
            assert one.n1.contingencies.elements == other.n1.contingencies.elements
            np.testing.assert_array_equal(one.n1.loading, other.n1.loading)
            np.testing.assert_array_equal(one.n1.violation_value, other.n1.violation_value)
    from gridrl.whatif.tables import outage_rows

    assert outage_rows(again["split"]) == outage_rows(found[1])
    assert store.study(number).case.digest == study.case.digest
    assert [row["variant"] for row in store.summaries(number)] == [r.name for r in again]


def test_the_list_says_what_there_is(store: Store) -> None:
    study = small_study()
    first, second = store.begin(study), store.begin(replace(study, name="later"))
    steps = store.solve(first)
    next(steps)
    next(steps)
    rows = store.studies()
    assert [(row["id"], row["name"]) for row in rows] == [(second, "later"), (first, "small")]
    assert [(row["finished"], row["variants"]) for row in rows] == [(0, 6), (2, 6)]
    assert len(store.missing(first)) == 4
    with pytest.raises(StudyError, match=f"Nothing of study {second} is finished"):
        store.result(second)


def test_an_interrupted_study_goes_on_where_it_stopped(store: Store) -> None:
    number = store.begin(small_study())
    steps = store.solve(number)
    done = [next(steps).name for _ in range(3)]
    steps.close()
    left = [
        name for name in (BASE, "split", "collapse", "tap", "rating", "open") if name not in done
    ]
    assert set(store.missing(number)) <= set(left)
    again = [r.name for r in store.solve(number)]
    assert sorted(again) == sorted(set(left) & set(again))
    assert store.missing(number) == []
    assert list(store.solve(number)) == []


def test_variants_are_read_when_asked_for_and_not_kept(store: Store) -> None:
    import gc
    import weakref

    number = store.begin(small_study())
    list(store.solve(number))
    result = store.result(number)
    held = weakref.ref(result["tap"])
    gc.collect()
    assert held() is None
    assert result["tap"].name == result.variants[2].name == "tap"
    compared = result.against("tap")
    assert compared.names == ("tap", BASE, "split", "collapse", "rating", "open")
    assert [r.name for r in compared] == list(compared.names)
    assert [r.name for r in compared.variants[1:3]] == ["split", "collapse"]


def test_recommendations_come_back_in_their_order(store: Store) -> None:
    study = small_study()
    number = store.begin(study)
    base, split = list(study.solve())[:2]
    store.add(number, base, base)
    store.add(number, replace(split, advice=ADVICE), base)
    assert store.result(number)["split"].advice == ADVICE
    assert store.result(number).base.advice is None


def test_the_faster_of_two_processes_wins(store: Store) -> None:
    study = small_study()
    number = store.begin(study)
    base = next(study.solve())
    store.add(number, base, base)
    store.add(number, replace(base, seconds=99.0), base)
    assert store.result(number).base.seconds == base.seconds


def test_solving_again_gives_the_same_and_a_difference_is_found(store: Store) -> None:
    number = store.begin(small_study())
    list(store.solve(number))
    rows = store.check(number)
    assert all(row["same"] for row in rows)
    assert [row["status"] for row in rows] == ["ok", "ok", "diverged", "ok", "ok", "ok"]
    assert [check["same"] for check in store.head(number)["reproductions"]] == [True]
    base = store.result(number).base
    v = base.flow.v.copy()
    v[0, 3] += 1e-5
    from gridrl.whatif.compare import reproduction_row

    moved = replace(base, flow=replace(base.flow, v=v))
    row = reproduction_row(base, moved)
    assert not row["same"]
    assert row["max_dv_pu"] == pytest.approx(1e-5)


def test_deleting_keeps_what_others_use(store: Store) -> None:
    study = small_study()
    first, second = store.begin(study), store.begin(study)
    for number in (first, second):
        list(store.solve(number))
    with store._database.reading() as connection:
        blobs = connection.scalar(sa.select(sa.func.count()).select_from(schema_module.blob_table))
    # Equal content is kept once for both studies, and a rating changes no flow: the case, five
    # flows, and five tables of outages (one variant has none).
    assert blobs == 11
    store.delete(first)
    assert len(store.result(second)) == 6
    store.delete(second)
    with store._database.reading() as connection:
        for table in schema_module.METADATA.sorted_tables:
            if table.name != "schema_version":
                assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0
    with pytest.raises(StudyError, match=f"No study {second} in"):
        store.delete(second)


# --- opening ----------------------------------------------------------------------------------
def test_a_store_of_version_one_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        schema_module.migrate(connection, upto=1)
        connection.execute(
            schema_module.blob_table.insert().values(sha256="0" * 64, content=b"kept")
        )
    engine.dispose()
    with Store(path) as store, store._database.reading() as connection:
        assert connection.scalar(sa.select(schema_module.blob_table.c.content)) == b"kept"
        assert connection.scalars(
            sa.select(schema_module.version_table.c.number)
        ).all() == [1, 2]  # fmt: skip
        assert sa.inspect(connection).has_table("reproduction")


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO schema_version VALUES (99)")
    with pytest.raises(StudyError, match=r"has schema 99, and this gridrl .*\. Update gridrl"):
        Store(path)


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (name)")
    before = path.read_bytes()
    with pytest.raises(StudyError, match=r"a database of something else .*'photos'"):
        Store(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("where", "words"),
    (
        ("{tmp}", "is a folder"),
        ("{tmp}/text.txt", "file is not a database"),
        ("{tmp}/text.txt/under", "cannot be made"),
        ("nonsense://x", "no database of the kind 'nonsense'"),
        ("://", "cannot be understood"),
        ("postgresql://user:geheim@127.0.0.1:1/none", "answers: "),
    ),
)
def test_what_is_no_store_is_refused_in_one_sentence(
    tmp_path: Path, where: str, words: str
) -> None:
    (tmp_path / "text.txt").write_text("not a database, but long enough to look at" * 100)
    with pytest.raises(StudyError) as caught:
        Store(where.format(tmp=tmp_path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_full_disk_is_said_and_what_is_finished_stays(tmp_path: Path) -> None:
    path = tmp_path / "studies.sqlite"
    with Store(path) as store:
        number = store.begin(small_study())
        first = next(store.solve(number))

        def small(connection: Any, _: Any) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count={pages + 1}")

        store.close()
        sa.event.listen(store._database._engine, "connect", small)
        with pytest.raises(StudyError, match=r"disk is full\. Make room; what is finished is kept"):
            list(store.solve(number))
    with Store(path) as store:
        assert store.result(number).base.status == first.status
        names = [result.name for result in store.solve(number)]
        assert names
        assert store.missing(number) == []


def test_a_store_that_may_not_be_written_is_said(tmp_path: Path) -> None:
    path = tmp_path / "studies.sqlite"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    path.chmod(0o400)
    if os.access(path, os.W_OK):
        pytest.skip("root may write everything")
    with pytest.raises(StudyError, match="You may not write to it"):
        Store(path)


def test_damaged_arrays_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "studies.sqlite"
    with Store(path) as store:
        number = store.begin(small_study())
        next(store.solve(number))
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE blob SET content = X'00' WHERE sha256 IN"
                               " (SELECT flow_blob FROM result)")  # fmt: skip
        connection.close()
        with pytest.raises(StudyError, match="damaged: their hash has changed"):
            store.result(number)


def test_every_commit_reaches_the_disk(tmp_path: Path) -> None:
    database = Database(tmp_path / "studies.sqlite")
    with database.reading() as connection:
        for pragma, want in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == want
    database.close()


OPENER = """
import sys, time
from gridrl.whatif import Store
while time.time() < float(sys.argv[2]):
    pass  # all at once
with Store(sys.argv[1]) as store:
    store.studies()
"""


def test_many_may_make_the_same_new_store_at_once(tmp_path: Path) -> None:
    path, start = str(tmp_path / "new.sqlite"), str(time.time() + 3.0)
    processes = [
        subprocess.Popen([sys.executable, "-c", OPENER, path, start], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:
        _, said = process.communicate()
        assert process.returncode == 0, said
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT number FROM schema_version ORDER BY 1").fetchall()
    connection.close()
    assert rows == [(1,), (2,)]


# --- processes --------------------------------------------------------------------------------
WORKER = """
import sys
from gridrl.whatif import Store
with Store(sys.argv[1]) as store:
    for result in store.solve(int(sys.argv[2])):
        print(result.name, flush=True)  # acknowledged: this one must never be lost
"""


def worker(url: str, number: int) -> Any:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, url, str(number)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def long_study(n: int) -> Study:
    study = Study(case=gridrl.load("case14"), name="long", settings=QUIET)
    for k in range(n):
        study = study.adding(f"v{k}", {"scale_load": 0.9 + 0.001 * k})
    return study


@pytest.mark.slow
def test_a_study_killed_twenty_times_loses_nothing(tmp_path: Path) -> None:
    url = str(tmp_path / "studies.sqlite")
    with Store(url) as store:
        number = store.begin(long_study(199))
    rng = np.random.default_rng(7)
    acknowledged: list[str] = []
    for _ in range(20):
        process = worker(url, number)
        lines = int(rng.integers(0, 9))
        for _, line in zip(range(lines), process.stdout, strict=False):
            acknowledged.append(line.strip())
        time.sleep(float(rng.uniform(0, 0.02)))  # anywhere within the next variants
        process.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]
        process.wait()
        process.stdout.close()
        with sqlite3.connect(url) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        with Store(url) as store:
            missing = store.missing(number)
        assert set(acknowledged).isdisjoint(missing)
        assert len(set(acknowledged)) == len(acknowledged), "a finished variant was solved again"
    with Store(url) as store:
        assert missing, "the study was finished before the last kill: make it longer"
        assert [r.name for r in store.solve(number)] == missing
        result = store.result(number)
        assert len(result) == 200
        assert all(row["same"] for row in store.check(number))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ("sqlite", "postgresql"))
def test_two_writers_lose_nothing(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(tmp_path / "s.sqlite") if kind == "sqlite" else request.getfixturevalue("postgresql")
    with Store(url) as store:
        shared, first, second = (store.begin(long_study(30)) for _ in range(3))
        # The same study twice, and each a study of its own beside it.
        processes = [worker(url, n) for n in (shared, shared, first, second)]
        for process in processes:
            process.communicate()
            assert process.returncode == 0
        for number in (shared, first, second):
            assert store.missing(number) == []
            assert len(store.result(number)) == 31
            store.delete(number)


@pytest.mark.slow
def test_ctrl_c_leaves_the_finished_part(tmp_path: Path) -> None:
    url = str(tmp_path / "studies.sqlite")
    with Store(url) as store:
        number = store.begin(long_study(199))
        process = worker(url, number)
        got = [process.stdout.readline().strip() for _ in range(5)]
        process.send_signal(signal.SIGINT)
        got += [line.strip() for line in process.stdout]
        process.stdout.close()
        assert process.wait() != 0
        assert set(got).isdisjoint(store.missing(number))
        assert store.missing(number)
