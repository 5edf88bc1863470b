"""Studies in a database: each variant is safe on disk as soon as it is finished.

SQLite in one file by default, any database that SQLAlchemy reaches by URL (tested: PostgreSQL).
Arrays are kept once per content, compressed, under their SHA-256. Every change is one transaction,
so a process may be killed at any moment, and several may write at once.
"""

import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from gridrl.errors import StudyError
from gridrl.rows import plain
from gridrl.whatif.arrays import (
    case_bytes,
    flow_bytes,
    n1_bytes,
    read_case,
    read_flow,
    read_n1,
)
from gridrl.whatif.compare import reproduction_row
from gridrl.whatif.database import Database, get, put
from gridrl.whatif.edits import parse_edit
from gridrl.whatif.results import BASE, Fetched, StudyResult, Variant, VariantResult
from gridrl.whatif.schema import (
    blob_table,
    check_table,
    recommendation_table,
    result_table,
    study_table,
    variant_table,
)
from gridrl.whatif.study import Study, StudySettings
from gridrl.whatif.tables import variant_row
from gridrl.whatif.workers import Progress

Row = dict[str, Any]


class Store:
    """A database of studies.

    Parameters
    ----------
    where
        A file for SQLite, or a database URL; by default ``GRIDRL_STORE``, or ``studies.sqlite`` in
        the user's data folder.

    Raises
    ------
    StudyError
        It cannot be opened, is no database of ours, or was made by a newer gridrl.
    """

    def __init__(self, where: str | Path | None = None) -> None:
        self._database = Database(where)

    def __str__(self) -> str:
        """The file or URL, without a password."""
        return str(self._database)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()

    # --- writing --------------------------------------------------------------------------------
    def begin(self, study: Study) -> int:
        """Note a study before it is solved; returns its number."""
        with self._database.writing() as connection:
            made = connection.execute(
                study_table.insert().values(
                    name=study.name, created=datetime.now(UTC),
                    source=study.case.source or study.case.grid.name, grid=study.case.grid.name,
                    digest=study.case.digest, case_blob=put(connection, case_bytes(study.case)),
                    base_edits=[edit.to_dict() for edit in study.base_edits],
                    settings=study.settings.to_dict(), versions=versions(),
                )
            )  # fmt: skip
            assert made.inserted_primary_key is not None
            number = int(made.inserted_primary_key[0])
            everything = (study.base, *study.variants)
            connection.execute(
                variant_table.insert(),
                [
                    {"study_id": number, "position": k, "name": v.name, "family": v.family,
                     "edits": [edit.to_dict() for edit in v.edits]}
                    for k, v in enumerate(everything)
                ],
            )  # fmt: skip
        return number

    def add(self, number: int, result: VariantResult, base: VariantResult) -> None:
        """Keep a finished variant; where another process was faster, its result stays."""
        flow = flow_bytes(result.flow)
        n1 = None if result.n1 is None else n1_bytes(result.n1)
        summary = plain(variant_row(base, result))
        advice = None if result.advice is None else plain(result.advice)
        try:
            with self._database.writing() as connection:
                position = self._position(connection, number, result.name)
                connection.execute(
                    result_table.insert().values(
                        study_id=number, position=position, finished=datetime.now(UTC),
                        seconds=result.seconds, status=result.status, summary=summary,
                        flow_blob=put(connection, flow),
                        n1_blob=None if n1 is None else put(connection, n1),
                        advice=_without_recommendations(advice), versions=versions(),
                    )
                )  # fmt: skip
                found = [] if advice is None else advice.get("recommendations", [])
                if found:
                    connection.execute(
                        recommendation_table.insert(),
                        [
                            {"study_id": number, "position": position, "rank": rank,
                             "kind": str(item.get("kind", "")),
                             "action": str(item.get("action", "")),
                             "verified": bool(item.get("verified")), "document": item}
                            for rank, item in enumerate(found, 1)
                        ],
                    )  # fmt: skip
        except IntegrityError:
            if result.name not in self._finished(number):
                raise

    def solve(
        self, number: int, progress: Progress | None = None, study: Study | None = None
    ) -> Iterator[VariantResult]:
        """Solve what is missing of a study, keeping and yielding each variant when it is finished.

        Parameters
        ----------
        study
            The study of that number, if it is at hand.
        """
        study = study or self.study(number)
        done = self._finished(number)
        base = self._result(number, study, study.base) if BASE in done else None
        for result in study.solve(progress, skip=tuple(done)):
            base = base or result
            self.add(number, result, base)
            yield result

    def check(self, number: int, progress: Progress | None = None) -> list[Row]:
        """Solve every finished variant again and say how far the results are from the stored ones.

        Columns: ``variant, same, status, status_now, max_dv_pu, max_ds_mva, n1_same``; ``same``
        means that statuses agree, voltages to 1e-6 p.u. and flows to 1e-4 MVA.
        """
        study = self.study(number)
        done = self._finished(number)
        missing = [v.name for v in (study.base, *study.variants) if v.name not in done]
        found = {
            result.name: reproduction_row(self._result(number, study, result.variant), result)
            for result in study.solve(progress, skip=missing)
        }
        rows = [found[v.name] for v in (study.base, *study.variants) if v.name in found]
        with self._database.writing() as connection:
            connection.execute(
                check_table.insert().values(
                    study_id=number, at=datetime.now(UTC), same=all(row["same"] for row in rows),
                    rows=plain(rows), versions=versions(),
                )
            )  # fmt: skip
        return rows

    def delete(self, number: int) -> None:
        """Remove a study, and the arrays that no other study uses."""
        with self._database.writing() as connection:
            self._head(connection, number)
            for table in (recommendation_table, result_table, variant_table, check_table):
                connection.execute(table.delete().where(table.c.study_id == number))
            connection.execute(study_table.delete().where(study_table.c.id == number))
            used = sa.union(
                sa.select(study_table.c.case_blob), sa.select(result_table.c.flow_blob),
                sa.select(result_table.c.n1_blob).where(result_table.c.n1_blob.is_not(None)),
            )  # fmt: skip
            connection.execute(blob_table.delete().where(blob_table.c.sha256.not_in(used)))

    # --- reading --------------------------------------------------------------------------------
    def studies(self) -> list[Row]:
        """Every study, newest first.

        Columns: ``id, name, created, case, grid, digest, variants, finished, insecure``; variants
        count the base.
        """
        with self._database.reading() as connection:
            heads = connection.execute(
                sa.select(study_table).order_by(study_table.c.id.desc())
            ).all()
            sizes = _counts(connection, variant_table)
            done = _counts(connection, result_table)
        return [
            {
                "id": head.id, "name": head.name, "created": _utc(head.created).isoformat(),
                "case": head.source, "grid": head.grid, "digest": head.digest,
                "variants": sizes.get(head.id, 0), "finished": done.get(head.id, 0),
            }
            for head in heads
        ]  # fmt: skip

    def head(self, number: int) -> Row:
        """What is known of a study besides its results."""
        with self._database.reading() as connection:
            head = self._head(connection, number)
            checks = connection.execute(
                sa.select(check_table.c.at, check_table.c.same, check_table.c.versions)
                .where(check_table.c.study_id == number)
                .order_by(check_table.c.at)
            ).all()
        return {
            "id": number, "name": head.name, "created": _utc(head.created).isoformat(),
            "case": head.source, "digest": head.digest, "settings": head.settings,
            "versions": head.versions,
            "reproductions": [
                {"at": _utc(row.at).isoformat(), "same": row.same, "versions": row.versions}
                for row in checks
            ],
        }  # fmt: skip

    def study(self, number: int) -> Study:
        """The study as it was stored, its case included."""
        with self._database.reading() as connection:
            head = self._head(connection, number)
            rows = connection.execute(
                sa.select(variant_table)
                .where(variant_table.c.study_id == number)
                .order_by(variant_table.c.position)
            ).all()
            case = read_case(get(connection, head.case_blob))
        return Study(
            case=case,
            name=head.name,
            base_edits=tuple(parse_edit(edit) for edit in head.base_edits),
            variants=tuple(
                Variant(
                    name=row.name, family=row.family,
                    edits=tuple(parse_edit(edit) for edit in row.edits),
                )
                for row in rows[1:]
            ),
            settings=StudySettings.from_dict(head.settings),
        )  # fmt: skip

    def result(self, number: int) -> StudyResult:
        """Everything that is finished; variants are read from the store when they are asked for.

        Raises
        ------
        StudyError
            There is no such study, or its base state is not finished.
        """
        study = self.study(number)
        done = self._finished(number)
        if BASE not in done:
            raise StudyError(
                f"Nothing of study {number} is finished. Run `gridrl whatif rerun {number}`."
            )
        by_name = {v.name: v for v in study.variants if v.name in done}
        return StudyResult(
            name=study.name, base=self._result(number, study, study.base),
            variants=Fetched(tuple(by_name), lambda v: self._result(number, study, by_name[v])),
            settings=study.settings.to_dict(),
        )  # fmt: skip

    def summaries(self, number: int) -> list[Row]:
        """`gridrl.whatif.tables.variant_row` of every finished variant, without reading arrays."""
        with self._database.reading() as connection:
            self._head(connection, number)
            rows = connection.execute(
                sa.select(result_table.c.summary)
                .where(result_table.c.study_id == number)
                .order_by(result_table.c.position)
            ).all()
        return [dict(row.summary) for row in rows]

    def missing(self, number: int) -> list[str]:
        """Names of the variants that are not finished."""
        done = self._finished(number)
        with self._database.reading() as connection:
            self._head(connection, number)
            names = connection.scalars(
                sa.select(variant_table.c.name)
                .where(variant_table.c.study_id == number)
                .order_by(variant_table.c.position)
            ).all()
        return [name for name in names if name not in done]

    def _result(self, number: int, study: Study, variant: Variant) -> VariantResult:
        with self._database.reading() as connection:
            position = self._position(connection, number, variant.name)
            row = connection.execute(
                sa.select(result_table).where(
                    result_table.c.study_id == number, result_table.c.position == position
                )
            ).one()
            found = connection.scalars(
                sa.select(recommendation_table.c.document)
                .where(
                    recommendation_table.c.study_id == number,
                    recommendation_table.c.position == position,
                )
                .order_by(recommendation_table.c.rank)
            ).all()
            flow_content = get(connection, row.flow_blob)
            n1_content = None if row.n1_blob is None else get(connection, row.n1_blob)
        case = study.case_of(variant)
        flow = read_flow(flow_content, case)
        return VariantResult(
            variant=variant, case=case, flow=flow,
            n1=None if n1_content is None else read_n1(n1_content, flow),
            advice=None if row.advice is None else {**row.advice, "recommendations": list(found)},
            seconds=row.seconds,
        )  # fmt: skip

    def _finished(self, number: int) -> set[str]:
        with self._database.reading() as connection:
            return set(
                connection.scalars(
                    sa.select(variant_table.c.name)
                    .join(result_table, sa.and_(
                        result_table.c.study_id == variant_table.c.study_id,
                        result_table.c.position == variant_table.c.position,
                    ))
                    .where(variant_table.c.study_id == number)
                )
            )  # fmt: skip

    def _head(self, connection: Connection, number: int) -> Any:
        head = connection.execute(
            sa.select(study_table).where(study_table.c.id == number)
        ).one_or_none()
        if head is None:
            raise StudyError(
                f"No study {number} in {self}. `gridrl whatif list` shows what there is."
            )
        return head

    def _position(self, connection: Connection, number: int, name: str) -> int:
        found = connection.scalar(
            sa.select(variant_table.c.position).where(
                variant_table.c.study_id == number, variant_table.c.name == name
            )
        )
        if found is None:
            raise StudyError(
                f"Study {number} has no variant '{name}', or it was deleted meanwhile."
            )
        return int(found)


def versions() -> dict[str, str]:
    """Programs that decide a result."""
    names = ("gridrl", "numpy", "numba", "pandapower", "powerio")
    return {name: version(name) for name in names} | {"python": platform.python_version()}


def _counts(connection: Connection, table: sa.Table) -> dict[int, int]:
    rows = connection.execute(
        sa.select(table.c.study_id, sa.func.count()).group_by(table.c.study_id)
    )
    return {int(number): int(count) for number, count in rows}


def _without_recommendations(advice: Any) -> Any:
    if advice is None:
        return sa.null()
    return {key: value for key, value in advice.items() if key != "recommendations"}


def _utc(moment: datetime) -> datetime:
    """SQLite forgets the zone; all moments are stored in UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
