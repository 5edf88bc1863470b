"""A PostgreSQL server of the tests' own, where the machine has its programs."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_S = 60


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of an empty database: ``GRIDRL_TEST_POSTGRESQL``, or a fresh server on a socket."""
    given = os.environ.get("GRIDRL_TEST_POSTGRESQL")
    if given:
        yield given
        return
    initdb, postgres = shutil.which("initdb"), shutil.which("postgres")
    if not (initdb and postgres):
        pytest.skip("needs PostgreSQL's programs, or GRIDRL_TEST_POSTGRESQL")
    folder = Path(tempfile.mkdtemp(prefix="gridrl-pg-"))
    who: dict[str, Any] = {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    data = folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **who}
    subprocess.run(
        [initdb, "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"],
        check=True, timeout=TIMEOUT_S, **quiet,
    )  # fmt: skip
    options = ["-c", "listen_addresses=", "-k", str(folder), "-c", "fsync=off"]
    server = subprocess.Popen([postgres, "-D", data, *options], **quiet)
    try:
        _wait(folder)
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        server.terminate()
        server.wait(TIMEOUT_S)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(folder: Path) -> None:
    import time

    import psycopg

    for _ in range(TIMEOUT_S * 10):
        try:
            psycopg.connect(f"postgresql://postgres@/postgres?host={folder}").close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("PostgreSQL did not start")
