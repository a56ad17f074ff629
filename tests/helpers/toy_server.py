"""Runs of the toy task in processes of their own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

TOY = Path(__file__).with_name("toy.py")


class Server:
    """Runs of the toy in processes of their own, without the seconds that importing torch takes."""

    def __init__(self, folder: Path):
        self.errors = folder / "stderr.txt"
        self.process = subprocess.Popen(
            [sys.executable, str(TOY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def ask(self, request: dict) -> int:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, output: Path, **job) -> int:
        return self.ask({"output": str(output), "stderr": str(self.errors), **job})

    def wait(self, pid: int) -> int:
        return self.ask({"wait": pid})

    def run(self, output: Path, **job) -> int:
        """Returns the exit code; what was written to standard error is in `stderr` afterwards."""
        self.errors.write_text("")
        return self.wait(self.start(output, **job))

    def run_ranks(self, output: Path, jobs: list[dict]) -> list[int]:
        self.errors.write_text("")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        group = {"WORLD_SIZE": str(len(jobs)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        pids = [
            self.start(output, **job, environment=group | {"RANK": str(rank)})
            for rank, job in enumerate(jobs)
        ]
        return [self.wait(pid) for pid in pids]

    def kill_after(self, seconds: float, output: Path, **job) -> int:
        pid = self.start(output, **job)
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        return self.wait(pid)

    @property
    def stderr(self) -> str:
        return self.errors.read_text()

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
