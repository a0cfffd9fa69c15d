"""A real Ray cluster on loopback: a head without cores of its own and two nodes of one core each.

Everything that it starts carries a mark in its environment, and is ended by its pid: `ray stop` would end every Ray on
the host. A watch of its own does that too when the tests are killed.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

MARK = "PUPIL_TEST_NODE"
PATIENCE = 300.0
ROOT = Path(__file__).parents[2]
_MEMORY = "100000000"


class RayCluster:
    """`with RayCluster() as cluster`."""

    def __init__(self, *, token: bool = True, nodes: int = 2) -> None:
        self._name = secrets.token_hex(4)
        # A short path: Ray makes sockets below it, whose names are limited to 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="pr", dir="/tmp"))
        self.token_file = self.folder / "token"
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(secrets.token_hex(32))
        self._has_token = token
        self._count = nodes
        self._port, dashboard = free_port(), free_port()
        self.url = f"http://127.0.0.1:{dashboard}"
        self._dashboard = str(dashboard)
        self.nodes: list[str] = []
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> RayCluster:
        command = [sys.executable, "-m", "tests.fakes.ray_cluster", self._name, str(self.folder)]
        self._watch = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True)
        try:
            head = ["--head", f"--port={self._port}", "--num-cpus=0", f"--temp-dir={self.folder}"]
            head += ["--dashboard-host=127.0.0.1", f"--dashboard-port={self._dashboard}"]
            self._start("head", [*head, f"--ray-client-server-port={free_port()}"])
            self._wait_for(self._answers)
            for _ in range(self._count):
                self.add_node()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.communicate()  # it does the rest
        for process in self._started:
            process.wait()

    def add_node(self) -> str:
        """Name of a new node, once it is part of the cluster."""
        name = f"{len(self.nodes)}.{secrets.token_hex(2)}"
        before = self.alive()
        arguments = [f"--address=127.0.0.1:{self._port}", "--num-cpus=1"]
        self._start(name, arguments)

        def has_come() -> bool:
            if self._started[-1].poll() is not None:  # it gives itself 30 s, which a busy machine does not
                self._start(name, arguments)
            return self.alive() > before

        self._wait_for(has_come)
        self.nodes.append(name)
        return name

    def kill_node(self, name: str) -> None:
        """As if its power was cut: every process of it at once."""
        kill(f"{self._name}-{name}")
        self.nodes.remove(name)

    def node_of(self, pid: int) -> str | None:
        """On which node a process runs, looked for among its ancestors; None: on none."""
        while pid > 1:
            mark = _mark(pid)
            if mark.startswith(f"{self._name}-"):
                return mark.partition("-")[2]
            try:
                pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            except FileNotFoundError:
                return None
        return None

    def alive(self) -> int:
        """Nodes that belong to the cluster, the head among them."""
        try:
            answer = json.loads(self.get("/api/v0/nodes?limit=100"))
        except (urllib.error.URLError, OSError):
            return 0
        return sum(node["state"] == "ALIVE" for node in answer["data"]["result"]["result"])

    def get(self, path: str) -> bytes:
        headers = {"Authorization": f"Bearer {self.token_file.read_text()}"}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=30) as answer:
            return answer.read()

    def _answers(self) -> bool:
        with suppress(urllib.error.URLError, OSError):
            return bool(self.get("/api/version")) and self.alive() > 0
        return False

    def _start(self, node: str, arguments: list[str]) -> None:
        scripts = Path(sys.executable).parent
        environment = {
            "PATH": f"{scripts}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            "RAY_AUTH_MODE": "token" if self._has_token else "disabled",
            MARK: f"{self._name}-{node}",
        }
        common = ["--node-ip-address=127.0.0.1", f"--object-store-memory={_MEMORY}", "--block"]
        common += [f"--dashboard-agent-listen-port={free_port()}", f"--dashboard-agent-grpc-port={free_port()}"]
        with (self.folder / f"{node}.log").open("ab") as output:
            command = [str(scripts / "ray"), "start", *arguments, *common]
            self._started.append(
                subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))
                raise TimeoutError(f"Ray did not start within {PATIENCE:.0f} s:\n{logs}")
            time.sleep(0.3)


def kill(prefix: str) -> None:
    """Whatever carries a mark that begins like this, until nothing does."""
    deadline = time.monotonic() + 30
    while (pids := marked(prefix)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def marked(prefix: str) -> list[int]:
    """Pids of all that a node has started and that kept its environment."""
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
    return [pid for pid in pids if _mark(pid).startswith(prefix)]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _mark(pid: int) -> str:
    """ "": it has none, or has ended."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return ""
    found = [part for part in environment.split(b"\0") if part.startswith(f"{MARK}=".encode())]
    return found[0].decode().partition("=")[2] if found else ""


def main() -> None:
    """Wait for the end of who started this, and end the cluster."""
    name, folder = sys.argv[1:]
    sys.stdin.read()
    kill(f"{name}-")
    deadline = time.monotonic() + 10
    while Path(folder).exists() and time.monotonic() < deadline:  # somebody who is dying may write once more
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
