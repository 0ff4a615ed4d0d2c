"""Runs real `greenlane relay` processes for the end-to-end tests."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess

from harness import REPO


class Relay:
    """One `greenlane relay` from a store to NATS, with its own data directory."""

    def __init__(self, folder, store: str, nats: str, settings: dict[str, str] | None = None):
        self.folder = pathlib.Path(folder)
        self.store, self.nats = store, nats
        self.log = self.folder / "relay.log"
        self.binary = os.environ.get("GREENLANE_BIN") or str(REPO / "target/debug/greenlane")
        self.settings = {"server.data_dir": str(self.folder / "data"), "upstream.timeout": "2s",
                         "upstream.heartbeat_interval": "200ms"} | (settings or {})
        self.process: subprocess.Popen | None = None

    def start(self, *flags: str) -> "Relay":
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GREENLANE_")}
        for key, value in self.settings.items():
            environment["GREENLANE_" + key.upper().replace(".", "__")] = value
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "relay", "--from", self.store, "--to", self.nats, *flags], env=environment,
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def signal(self, number: int):
        self.process.send_signal(number)

    def stop(self, deadline: float = 20.0) -> int:
        """Asks the process to stop (SIGTERM) and returns its exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(deadline)

    def kill(self):
        """SIGKILL; a stopped process dies of it too."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def __enter__(self) -> "Relay":
        return self if self.process else self.start()

    def __exit__(self, *_):
        self.kill()
