"""What the scenarios are made of: programs that end with their scenario, and what is read of them."""

import json
import os
import socket
import tempfile
import threading
import time
from pathlib import Path

from processes import Program

HERE = Path(__file__).parent
#: The name of agents, where a scenario has no reason for another.
NAME = "local"


class Wrong(Exception):
    """A scenario is not as it should be."""


def must(right, what):
    if not right:
        raise Wrong(what)


def until(found, what, limit=30):
    """Waits until `found()` gives something."""
    end = time.monotonic() + limit
    while not (value := found()):
        must(time.monotonic() < end, f"{what}: not within {limit} s")
        time.sleep(0.05)
    return value


class Bench:
    """Starts programs for a scenario, and ends them with it."""

    def __init__(self, args, stack):
        self.args = args
        self._stack = stack
        self._log = stack.enter_context(tempfile.NamedTemporaryFile("w+", suffix=".log"))

    def start(self, *command):
        return self._stack.enter_context(Program(*command, stderr=self._log))

    def folder(self):
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory()))

    def log(self):
        return Path(self._log.name).read_text()

    def go(self, name, *flags):
        return self.start(self.args.peers / name, *flags)

    def server(self, *flags):
        """A grpc-go server, and where it listens."""
        server = self.go("interopserver", "-timeout", "1h", *flags)
        return server, server.line("listening ")

    def gateway(self, *flags):
        gateway = self.start(self.args.program, "gateway", "--listen", "127.0.0.1:0", *flags)
        return gateway, gateway.line("listening on ")

    def agent(self, gateway, local, name=NAME, *flags):
        agent = self.start(self.args.program, "agent", "--gateway", f"http://{gateway}", "--name", name,
                           "--local", f"http://{local}", *flags)
        agent.line("connected to ")
        return agent

    def dial(self, gateway, name=NAME):
        dial = self.start(self.args.program, "dial", "--gateway", f"http://{gateway}", "--name", name,
                          "--listen", "127.0.0.1:0")
        address = dial.line("listening on ")
        dial.line("connected to ")
        return address

    def load(self, address, *flags):
        # A call that hangs fails all the same, and one on a machine that does much else does not.
        return self.go("load", "-server", address, "-timeout", "1h", "-deadline", "2m", *flags)


def report(load):
    said = load.rest()
    lines = [line for line in said.splitlines() if line.startswith("report ")]
    must(lines, f"the client said no report: {said}")
    return json.loads(lines[0][len("report "):])


def no_failure(seen):
    must(not seen["failures"], f"{len(seen['failures'])} calls failed, the first: {seen['failures'][:3]}")
    must(seen["ok"], "no call was made")


class Forwarder:
    """A TCP forwarder that can be told to pass no more bytes; it goes on to take connections."""

    def __init__(self, to):
        host, _, port = to.rpartition(":")
        self._to = (host, int(port))
        self._passes = threading.Event()
        self._passes.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self):
        self._passes.clear()

    def _accept(self):
        while True:
            here, _ = self._listener.accept()
            there = socket.create_connection(self._to)
            for pair in ((here, there), (there, here)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source, sink):
        try:
            while data := source.recv(65_536):
                self._passes.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def resident(process):
    """Bytes of a process in memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))
