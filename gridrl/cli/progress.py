"""Progress of long commands on stderr: a bar on a terminal, a line per tenth elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gridrl.cli.common import console


@contextmanager
def share_bar(what: str) -> Iterator[Callable[[float, str], None]]:
    """Yield what takes the share that is done, 0..1, and what is being done."""
    err = console(stderr=True)
    if err.is_terminal:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(),
                   TextColumn("{task.percentage:3.0f} %"), TimeRemainingColumn())  # fmt: skip
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task(what, total=1.0)
            yield lambda share, now: bar.update(task, completed=share, description=now)
        return
    said = 0

    def say(share: float, now: str) -> None:
        nonlocal said
        if int(10 * share) > said:
            said = int(10 * share)
            err.print(f"{what}: {10 * said} % ({now})")

    yield say
