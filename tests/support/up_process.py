"""`phonefarm up` as a subprocess of a test."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.live_farm import LiveFarm, LivePhone, bare_environment

READY_SECONDS = 90.0
STOP_SECONDS = 60.0


class UpProcess:
    """A started `up`; made by `started_up`."""

    def __init__(self, process: "subprocess.Popen[bytes]", data: Path, output: Path) -> None:
        self.process = process
        self.data = data
        self._output = output

    @property
    def said(self) -> str:
        """Return everything it has written."""
        return self._output.read_text(errors="replace")

    @property
    def pids(self) -> dict[str, int]:
        """Return the programs' process ids by name."""
        return dict(json.loads((self.data / "up.json").read_text())["pids"])

    def ready(self) -> LiveFarm:
        """Return the farm once up.json is there; AssertionError when `up` ends or is too slow."""
        deadline = time.monotonic() + READY_SECONDS
        while (facts := self._facts()) is None:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)  # a file gives no news
        return LiveFarm(
            data=self.data,
            rest=facts["rest"],
            grpc=facts["grpc"],
            control=facts["simulator_control"],
            api_key=facts["api_key"],
            webhook_secret=facts["webhook_secret"],
            phones=tuple(
                LivePhone(
                    phone_id=phone["phone_id"],
                    serialno=phone["serialno"],
                    account_id=phone["account_id"],
                )
                for phone in facts["phones"]
            ),
            runtime=facts["runtime"],
        )

    def _facts(self) -> dict[str, Any] | None:
        """Return up.json; None while there is none, or only that of a killed `up` before."""
        try:
            facts: dict[str, Any] = json.loads((self.data / "up.json").read_text())
        except FileNotFoundError:
            return None
        return facts if facts["pids"]["up"] == self.process.pid else None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def started_up(
    data: Path,
    *arguments: str,
    simulate: int = 3,
    runtime: str = "process",
    scale: float = 0.2,
    environment: dict[str, str] | None = None,
) -> Iterator[UpProcess]:
    """Start `up` on free ports; it is stopped, or killed, at the end."""
    data.mkdir(parents=True, exist_ok=True)
    output = data.with_name(f"{data.name}.{time.monotonic_ns()}.out")
    command = [sys.executable, "-m", "phonefarm_cli", "up", "--data", str(data)]
    command += ["--simulate", str(simulate), "--runtime", runtime]
    command += ["--rest", "127.0.0.1:0", "--grpc", "127.0.0.1:0", *arguments]
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=bare_environment() | {"PHONEFARM_TIME_SCALE": str(scale)} | (environment or {}),
            start_new_session=True,
        )
    try:
        yield UpProcess(process, data, output)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
