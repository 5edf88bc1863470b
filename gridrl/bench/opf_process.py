"""The process of one contender of the suites ``opf``, as its parent sees it."""

import json
import queue
import subprocess
import sys
import tempfile
import threading
from typing import IO

from gridrl.bench.opf_suite import Posed
from gridrl.bench.powerflow import one_thread
from gridrl.bench.runner import Row

GRACE_S = 30.0  # for a worker that has to read the case first


class Worker:
    """The process of one contender; started when it is first asked, and again after its end."""

    def __init__(self, contender: str) -> None:
        self.contender = contender
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._words: IO[str] | None = None

    def ask(self, posed: Posed, limit_s: float, *, judge: bool) -> Row:
        """One solve; how it ended, also where the process did not survive it."""
        if self._process is None:
            self._begin()
        assert self._process is not None
        assert self._process.stdin is not None
        request = {"path": posed.path, "contender": self.contender, "judge": judge}
        if self.contender == "highs_switching":
            request["settings"] = {"time_limit_s": 0.5 * limit_s}
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=limit_s + GRACE_S)
        except queue.Empty:
            self.end()
            return {"status": "time_limit", "message": f"stopped after {limit_s:g} s"}
        except OSError:
            line = None
        if line is None:
            code = self._process.wait()
            said = self._last_words()
            self.end()
            return {"status": "crashed", "message": f"its process ended, code {code}: {said}"}
        answer: Row = json.loads(line)
        late = answer.get("wall_s") or 0.0
        if late > limit_s:
            answer |= {"status": "time_limit", "message": f"took {late:.0f} s"}
        return answer

    def _begin(self) -> None:
        self._words = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._answers = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "gridrl.bench.opf_worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words,
            env=one_thread(), text=True, encoding="utf-8", start_new_session=True,
        )  # fmt: skip
        arguments = (self._process.stdout, self._answers)
        threading.Thread(target=_forward, args=arguments, daemon=True).start()

    def _last_words(self) -> str:
        assert self._words is not None
        self._words.seek(0)
        return self._words.read()[-300:].strip().replace("\n", " ")

    def end(self) -> None:
        """Stop the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout, self._words):
                assert stream is not None
                try:
                    stream.close()
                except OSError:  # what was still to be written has no reader
                    continue
        self._process = None


def _forward(stream: IO[str], answers: "queue.SimpleQueue[str | None]") -> None:
    try:
        for line in stream:
            answers.put(line)
    except ValueError:  # closed while it was read: the process was stopped
        pass
    answers.put(None)
