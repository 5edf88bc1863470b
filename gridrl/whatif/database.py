"""The connection behind the store: which database, transactions, and bytes kept by content."""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from platformdirs import user_data_dir
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from gridrl.errors import MissingExtra, StudyError
from gridrl.whatif.schema import VERSION, blob_table, migrate, version_table

_PATIENCE_S = 60  # how long one writer waits for another
_HINTS = (  # what a database says, and what to do
    ("locked", "Another process holds it; try again."),
    ("full", "Make room; what is finished is kept, and `gridrl whatif rerun` goes on."),
    ("readonly", "You may not write to it; name another with --store."),
    ("unable to open", "Check its folder, and that you may write there."),
)
_LOCK = 0x67726964  # "grid": PostgreSQL's advisory lock while a schema is made


class Database:
    """A database with our tables in it, of our version; see `gridrl.whatif.store.Store`."""

    def __init__(self, where: str | Path | None = None) -> None:
        self._url = _url(where)
        self._engine = _engine(self._url)
        with self.writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            names = sa.inspect(connection).get_table_names()
            if names and version_table.name not in names:
                raise StudyError(
                    f"{self} is a database of something else (it has a table '{names[0]}'). Name "
                    "another file or an empty database."
                )
            found = migrate(connection)
        if found > VERSION:
            raise StudyError(
                f"The store {self} has schema {found}, and this gridrl {version('gridrl')} knows "
                f"schemas up to {VERSION}. Update gridrl, or name another store."
            )

    def __str__(self) -> str:
        """The file or URL, without a password."""
        return str(self._url.database) if _is_sqlite(self._url) else repr(self._url)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """All or nothing; SQLite takes its write lock at once, so that nothing fails half-way."""
        engine = self._engine.execution_options(gridrl_writes=True)
        with self._speaking(), engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent state, whoever writes meanwhile."""
        with self._speaking(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """One sentence for what a database can complain of."""
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as problem:
            said = " ".join(str(problem.orig).split())
            hint = next((h for word, h in _HINTS if word in said), "Is it the right one?")
            raise StudyError(f"The store {self} answers: {said}. {hint}") from None


def _url(where: str | Path | None) -> sa.URL:
    where = where or os.environ.get("GRIDRL_STORE") or _default_file()
    text = str(where)
    if "://" not in text:
        path = Path(text).expanduser()
        try:
            if path.is_dir():
                raise StudyError(f"The store {path} is a folder. Name a file in it.")
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise StudyError(f"The store {path} cannot be made: {problem.strerror}.") from None
        return sa.URL.create("sqlite", database=str(path))
    try:
        url = sa.make_url(text)
    except ArgumentError:
        raise StudyError(
            "The store's URL cannot be understood. Write a file name, or a URL like "
            "postgresql://user@host/database."
        ) from None
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    return url


def _default_file() -> Path:
    return Path(user_data_dir("gridrl", appauthor=False)) / "studies.sqlite"


def _is_sqlite(url: sa.URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _engine(url: sa.URL) -> Engine:
    options: dict[str, Any] = {"json_serializer": _json}
    if _is_sqlite(url):
        options["connect_args"] = {"timeout": _PATIENCE_S}
    try:
        engine = sa.create_engine(url, **options)
    except ModuleNotFoundError as missing:
        extra = " 'gridrl[postgresql]'" if "postgresql" in url.drivername else f" {missing.name}"
        raise MissingExtra(f"This store needs {missing.name}: pip install{extra}.") from missing
    except (ArgumentError, sa.exc.NoSuchModuleError):
        raise StudyError(
            f"There is no database of the kind '{url.drivername}'. Use a file (SQLite) or a URL "
            "like postgresql://user@host/database."
        ) from None
    if _is_sqlite(url):
        sa.event.listen(engine, "connect", _on_connect)
        sa.event.listen(engine, "begin", _on_begin)
    return engine


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _on_connect(connection: Any, _: Any) -> None:
    """SQLite as a store: durable after each commit, readers beside a writer, references kept."""
    connection.isolation_level = None  # we begin transactions ourselves
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    if not tables or (version_table.name,) in tables:  # a stranger's file stays as it is
        _write_ahead(connection)


def _write_ahead(connection: Any) -> None:
    """Switch the journal; SQLite does not wait for others here, so we do."""
    for _ in range(10 * _PATIENCE_S):
        if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
            return
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as busy:
            if "locked" not in str(busy):
                raise
            time.sleep(0.1)


def _on_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("gridrl_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def put(connection: Connection, content: bytes) -> str:
    """Keep some bytes once; returns their SHA-256."""
    sha = hashlib.sha256(content).hexdigest()
    insert: Callable[[Any], Any]
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert
    connection.execute(
        insert(blob_table).values(sha256=sha, content=content).on_conflict_do_nothing()
    )
    return sha


def get(connection: Connection, sha: str) -> bytes:
    content: bytes = connection.execute(
        sa.select(blob_table.c.content).where(blob_table.c.sha256 == sha)
    ).scalar_one()
    if hashlib.sha256(content).hexdigest() != sha:
        raise StudyError(f"Stored arrays {sha[:12]} are damaged: their hash has changed.")
    return content
