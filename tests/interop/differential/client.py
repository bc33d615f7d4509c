"""A grpcio client that plays scripts: one behaviour as JSON a line in, one observation a line out."""

import argparse
import base64
import json
import queue
import sys
import time

import grpc

from script import METHOD, SCRIPT, digest, payload

TARGET = "x-tunnel-target"
#: Longer messages are written down by their digest alone.
SHOWN = 100_000
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
           ("grpc.max_metadata_size", 1 << 20), ("grpc.absolute_max_metadata_size", 1 << 20)]


def pairs_of(metadata):
    """Metadata as JSON holds it."""
    return [[k, v if isinstance(v, str) else base64.b64encode(v).decode()]
            for k, v in metadata or ()]


class Requests:
    """What a call sends, message by message."""

    def __init__(self):
        self._queue = queue.Queue()

    def __iter__(self):
        return iter(self._queue.get, None)

    def send(self, message):
        self._queue.put(message)

    def end(self):
        self._queue.put(None)


class Call:
    def __init__(self, channel, behaviour, target):
        method = behaviour.get("method", METHOD)
        metadata = [(SCRIPT, json.dumps(behaviour["server"]))]
        metadata += [(k, base64.b64decode(v) if k.endswith("-bin") else v)
                     for k, v in behaviour.get("metadata", ())]
        metadata += [(TARGET, target)] if target else []
        compression = grpc.Compression.Gzip if behaviour.get("compress") else None
        self._requests = Requests()
        self._call = channel.stream_stream(method)(
            iter(self._requests), metadata=metadata, compression=compression,
            timeout=behaviour["timeout"])
        self.events = []

    def play(self, steps):
        for name, *arguments in steps:
            getattr(self, name)(*arguments)
        self._requests.end()

    def send(self, size, count=1):
        for seed in range(count):
            self._requests.send(payload(size, seed))

    def half_close(self):
        self._requests.end()

    def head(self):
        self.events.append(["head", pairs_of(self._call.initial_metadata())])

    def recv(self, count=1):
        for _ in range(count):
            try:
                message = next(self._call)
            except StopIteration:
                return self._ended()
            except grpc.RpcError:
                return self._ended()
            self.events.append(["message", digest(message), message.decode("latin-1")
                                if len(message) < SHOWN else ""])

    def all(self):
        while not self.events or self.events[-1][0] != "end":
            self.recv()

    def sleep(self, seconds):
        time.sleep(seconds)

    def cancel(self):
        self._call.cancel()

    def _ended(self):
        call = self._call
        self.events.append(["head", pairs_of(call.initial_metadata())])
        trailing = list(call.trailing_metadata() or ())
        details = [v for k, v in trailing if k == "grpc-status-details-bin"]
        self.events.append([
            "end", call.code().value[0], call.details(),
            [base64.b64encode(v).decode() for v in details],
            pairs_of((k, v) for k, v in trailing if k != "grpc-status-details-bin")])


def observe(channel, behaviour, target):
    begun = time.monotonic()
    call = Call(channel, behaviour, target)
    call.play(behaviour["client"])
    return {"events": call.events, "seconds": round(time.monotonic() - begun, 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True)
    parser.add_argument("--target", default="")
    args = parser.parse_args()
    channels = {}
    for line in sys.stdin:
        behaviour = json.loads(line)
        authority = behaviour.get("authority")
        if authority not in channels:
            own = [("grpc.default_authority", authority)] if authority else []
            channels[authority] = grpc.insecure_channel(args.server, options=OPTIONS + own)
        try:
            observation = observe(channels[authority], behaviour, args.target)
        except Exception as error:  # What a library refuses locally is an observation, too.
            observation = {"events": [["refused", type(error).__name__, str(error)]]}
        print(json.dumps(observation), flush=True)


if __name__ == "__main__":
    main()
