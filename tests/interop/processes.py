"""Processes that end with the one that started them."""

import json
import os
import signal
import subprocess

START_S = 30
# No load balancer stands in front of these, so that none has to notice that a gateway ends.
os.environ.setdefault("GRPCTUNNEL_DRAIN_DELAY", "0")


class Program:
    """A process. What it says on standard output is read line by line."""

    def __init__(self, *command, piped=False, stderr=None, **more):
        stdin = subprocess.PIPE if piped else subprocess.DEVNULL
        self._process = subprocess.Popen(
            [str(part) for part in command], stdin=stdin, stdout=subprocess.PIPE, stderr=stderr,
            text=True, **more)

    @property
    def pid(self):
        return self._process.pid

    def runs(self):
        return self._process.poll() is None

    def signal(self, number):
        self._process.send_signal(number)

    def line(self, begin):
        """What follows `begin` on the next line, which must begin so."""
        line = self._process.stdout.readline()
        if not line.startswith(begin):
            raise SystemExit(f"expected {begin!r}, got {line!r}")
        return line[len(begin):].strip()

    def rest(self):
        """All that it still says, once it has ended."""
        said = self._process.stdout.read()
        self._process.wait()
        return said

    def ask(self, question):
        """One line of JSON in, one line out."""
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the client ended at {question['name']!r}")
        return json.loads(line)

    def end(self, limit=START_S):
        """Ends it in order, and gives its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SystemExit(f"{self._process.args[:2]} did not end within {limit} s") from None

    def kill(self):
        self._process.kill()
        self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.runs():
            # One that is paused would not see the other signal.
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(START_S)
            except subprocess.TimeoutExpired:
                self.kill()
