"""Tables of the study store, and the way from every older schema to the present one.

A migration is a list of statements that are carried out once, in one transaction with the new
version number; they are never edited afterwards. There are few tables and no model classes, so
this is smaller than a migration tool would be (docs/decisions/0004).
"""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

METADATA = sa.MetaData()
JSON = sa.JSON

version_table = sa.Table(
    "schema_version", METADATA, sa.Column("number", sa.Integer, primary_key=True)
)

blob_table = sa.Table(
    "blob", METADATA,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)  # fmt: skip

study_table = sa.Table(
    "study", METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    sa.Column("source", sa.Text, nullable=False),  # what the user asked for: a name or a path
    sa.Column("grid", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),  # of the case, before any edit
    sa.Column("case_blob", sa.ForeignKey("blob.sha256"), nullable=False),
    sa.Column("base_edits", JSON, nullable=False),
    sa.Column("settings", JSON, nullable=False),
    sa.Column("versions", JSON, nullable=False),
    sqlite_autoincrement=True,  # the number of a deleted study is not given again
)  # fmt: skip

variant_table = sa.Table(
    "variant", METADATA,
    sa.Column("study_id", sa.ForeignKey("study.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),  # 0 is the base
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("family", sa.Text, nullable=False),
    sa.Column("edits", JSON, nullable=False),
)  # fmt: skip

result_table = sa.Table(
    "result", METADATA,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("finished", sa.DateTime(timezone=True), nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("summary", JSON, nullable=False),  # gridrl.whatif.tables.variant_row
    sa.Column("flow_blob", sa.ForeignKey("blob.sha256"), nullable=False),
    sa.Column("n1_blob", sa.ForeignKey("blob.sha256")),
    sa.Column("advice", JSON),  # what the search found, without its recommendations
    sa.Column("versions", JSON, nullable=False),
    sa.ForeignKeyConstraint(
        ["study_id", "position"], ["variant.study_id", "variant.position"], ondelete="CASCADE"
    ),
)  # fmt: skip

recommendation_table = sa.Table(
    "recommendation", METADATA,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("rank", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("verified", sa.Boolean, nullable=False),
    sa.Column("document", JSON, nullable=False),
    sa.ForeignKeyConstraint(
        ["study_id", "position"], ["result.study_id", "result.position"], ondelete="CASCADE"
    ),
)  # fmt: skip

# Since version 2.
check_table = sa.Table(
    "reproduction", METADATA,
    sa.Column("study_id", sa.ForeignKey("study.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("same", sa.Boolean, nullable=False),
    sa.Column("rows", JSON, nullable=False),  # one per variant that was solved again
    sa.Column("versions", JSON, nullable=False),
)  # fmt: skip


def _first(connection: Connection) -> None:
    """Studies, variants, results, recommendations, and the arrays behind them."""
    tables = (blob_table, study_table, variant_table, result_table, recommendation_table)
    METADATA.create_all(connection, list(tables), checkfirst=False)


def _second(connection: Connection) -> None:
    """What solving a study again gave."""
    METADATA.create_all(connection, [check_table], checkfirst=False)


MIGRATIONS = (_first, _second)  # MIGRATIONS[k] leads from version k to k + 1
VERSION = len(MIGRATIONS)


def migrate(connection: Connection, upto: int = VERSION) -> int:
    """Bring an empty or older database to the version wanted; the caller holds its write lock.

    Returns the version found, which may be newer than ours.
    """
    version_table.create(connection, checkfirst=True)
    found = connection.scalar(sa.select(sa.func.max(version_table.c.number))) or 0
    for number in range(found, upto):
        MIGRATIONS[number](connection)
        connection.execute(version_table.insert().values(number=number + 1))
    return int(found)
