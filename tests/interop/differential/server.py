"""A grpcio server that plays the script which each call brings along. It knows of no tunnel.

Prints `listening ADDR`, and ends on SIGTERM or when its time is over.
"""

import argparse
import base64
import json
import signal
import threading
import time
from concurrent import futures

import grpc

from script import METHOD, SCRIPT, digest, payload

CODES = {code.value[0]: code for code in grpc.StatusCode}
PATIENCE_S = 300


def value_of(key, value):
    """A metadata value from JSON: binary ones are base64 there."""
    return base64.b64decode(value) if key.endswith("-bin") else value


class Play:
    """One call."""

    def __init__(self, requests, context):
        self._requests = requests
        self._context = context
        self._over = threading.Event()
        if not context.add_callback(self._over.set):
            self._over.set()
        metadata = list(context.invocation_metadata())
        self._script = json.loads(next(v for k, v in metadata if k == SCRIPT))
        self._metadata = [(k, v) for k, v in metadata if k != SCRIPT]

    def run(self):
        """The messages that are sent, one by one."""
        for name, *arguments in self._script:
            yield from getattr(self, name)(*arguments) or ()

    # Steps.

    def head(self, pairs):
        self._context.send_initial_metadata([(k, value_of(k, v)) for k, v in pairs])

    def send(self, size, count=1):
        for seed in range(count):
            yield payload(size, seed)

    def recv(self, count=-1):
        """Reads so many requests, or all of them, and sends what they were."""
        seen = []
        while count != len(seen):
            request = next(self._requests, None)
            if request is None:
                break
            seen.append(digest(request))
        yield " ".join(seen).encode()

    def skip(self, count=1):
        for _ in range(count):
            next(self._requests, None)

    def echo(self):
        yield from self._requests

    def metadata(self):
        seen = [[k, v if isinstance(v, str) else base64.b64encode(v).decode()]
                for k, v in self._metadata]
        yield json.dumps(sorted(seen)).encode()

    def authority(self):
        # grpcio shows it nowhere else.
        yield self._context._rpc_event.call_details.host

    def deadline(self):
        # In hundreds of seconds: what it took to get here does not matter.
        left = self._context.time_remaining()
        yield b"none" if left is None or left > 1e9 else f"{round(left / 100)}00".encode()

    def trailers(self, pairs):
        self._context.set_trailing_metadata([(k, value_of(k, v)) for k, v in pairs])

    def sleep(self, seconds):
        time.sleep(seconds)

    def compress(self):
        self._context.set_compression(grpc.Compression.Gzip)

    def wait(self):
        """Until the call is over."""
        self._over.wait(PATIENCE_S)

    def abort(self, code, message, size=0):
        self._context.abort(CODES[code], message + "m" * size)

    def crash(self):
        raise RuntimeError("as the script says")


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method != METHOD:
            return None
        return grpc.stream_stream_rpc_method_handler(
            lambda requests, context: Play(requests, context).run())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", help="the address to listen on")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds to live")
    args = parser.parse_args()
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
               ("grpc.max_metadata_size", 1 << 20), ("grpc.absolute_max_metadata_size", 1 << 20)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=options)
    server.add_generic_rpc_handlers([Handler()])
    port = server.add_insecure_port(args.listen)
    server.start()
    print(f"listening {args.listen.rpartition(':')[0]}:{port}", flush=True)
    stop.wait(args.timeout)
    server.stop(grace=None).wait()


if __name__ == "__main__":
    main()
