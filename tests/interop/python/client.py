"""A plain grpcio client, with no tunnel of its own: calls server.py, directly or through a gateway.

Prints `ok CASE` for each case and `ok` at the end; exits 1 with a message at the first that fails.
"""

import argparse
import os
import queue
import random
import signal
import sys
import uuid

import grpc
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import contract
import testservice_pb2 as pb
import testservice_pb2_grpc as pb_grpc

LARGE = 200_000
#: The deadline of the call that misses it: long enough to reach the handler before.
PATIENCE_S = 1.0
#: grpcio rounds a timeout up, to few digits.
ROUNDING = 1.1
INITIAL = (contract.INITIAL, "initial value")
#: Text whose UTF-8 bytes are not its Latin-1 bytes, so that a mistaken dialect shows.
TRAILING = (contract.TRAILING, "trailing \u2602 \u00e9".encode())
FAILURE = 'not in this phase: 100% \u2602\t"quoted"'


class Failure(Exception):
    """Something is not as expected."""


def expect(what, got, want):
    if got != want:
        raise Failure(f"{what} is {got!r:.200}, not {want!r:.200}")


def payload(seed, size):
    return pb.Payload(body=random.Random(seed).randbytes(size))


class Cases:
    """Each public method is a case."""

    def __init__(self, channel, name, timeout_s):
        self._stub = pb_grpc.TestServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)
        self._reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        self._target = [(contract.TUNNEL_TARGET, name)] if name else []
        self._timeout_s = timeout_s

    def unary(self):
        for size in (0, 1, LARGE):
            sent = payload(size, size)
            got, call = self._stub.UnaryCall.with_call(
                pb.SimpleRequest(payload=sent), **self._with(INITIAL, TRAILING, echo=True))
            expect("payload", got.payload.body, sent.body)
            self._check_metadata(call)

    def clientstream(self):
        sizes = [0, 1, LARGE, 5]
        requests = (pb.StreamingInputCallRequest(payload=payload(0, size)) for size in sizes)
        got = self._stub.StreamingInputCall(requests, **self._with())
        expect("sum", got.aggregated_payload_size, sum(sizes))

    def serverstream(self):
        sizes = [0, 1, LARGE, 5]
        parameters = [pb.ResponseParameters(size=size) for size in sizes]
        request = pb.StreamingOutputCallRequest(response_parameters=parameters)
        responses = self._stub.StreamingOutputCall(request, **self._with())
        expect("payloads", [r.payload.body for r in responses], [bytes(size) for size in sizes])

    def bidi(self):
        requests = Requests()
        call = self._stub.FullDuplexCall(requests, **self._with(INITIAL, TRAILING, echo=True))
        for size in (0, 1, LARGE, 5):
            sent = requests.ping(size)
            expect("payload", next(call).payload.body, sent.body)
        requests.end()
        expect("the end", next(call, None), None)
        self._check_metadata(call)

    def details(self):
        code = grpc.StatusCode.FAILED_PRECONDITION
        request = pb.SimpleRequest(
            response_status=pb.EchoStatus(code=code.value[0], message=FAILURE))
        error = failing(lambda: self._stub.UnaryCall(
            request, **self._with(TRAILING, (contract.DETAILS, "REASON"))))
        expect("code", error.code(), code)
        expect("message", error.details(), FAILURE)
        trailers = dict(error.trailing_metadata())
        expect("trailer", trailers.get(contract.TRAILING), TRAILING[1])
        status = status_pb2.Status.FromString(trailers.get(contract.STATUS_TRAILER, b""))
        expect("status", status, contract.status_with_details(code.value[0], FAILURE, "REASON"))

    def deadline(self):
        name = str(uuid.uuid4())
        request = pb.StreamingOutputCallRequest(
            response_parameters=[pb.ResponseParameters(interval_us=1_000_000_000)])
        options = self._with((contract.CALL_ID, name)) | {"timeout": PATIENCE_S}
        error = failing(lambda: next(self._stub.StreamingOutputCall(request, **options)))
        expect("code", error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        seen = self._observe(name)
        expect("the end at the handler", seen.get(contract.CALL_END), "cancelled")
        given = int(seen.get(contract.CALL_TIMEOUT, 0))
        if not 0 < given <= PATIENCE_S * 1000 * ROUNDING:
            raise Failure(f"the handler was given {given} ms of {PATIENCE_S} s")

    def cancel(self):
        name = str(uuid.uuid4())
        requests = Requests()
        # Observed must be that nobody set a deadline.
        options = self._with((contract.CALL_ID, name)) | {"timeout": None}
        call = self._stub.FullDuplexCall(requests, **options)
        requests.ping(0)
        next(call)
        call.cancel()
        error = failing(lambda: next(call))
        expect("code", error.code(), grpc.StatusCode.CANCELLED)
        seen = self._observe(name)
        expect("the end at the handler", seen.get(contract.CALL_END), "cancelled")
        expect("the handler's timeout", seen.get(contract.CALL_TIMEOUT), None)
        requests.end()

    def metadata(self):
        values = ["second to none", "a,b", "first"]
        _, call = self._stub.UnaryCall.with_call(
            pb.SimpleRequest(), **self._with(*((contract.MANY, value) for value in values)))
        got = [value for key, value in call.initial_metadata() if key == contract.MANY]
        expect(contract.MANY, got, values)

    def health(self):
        serving = health_pb2.HealthCheckResponse.SERVING
        for name in ("", contract.SERVICE):
            request = health_pb2.HealthCheckRequest(service=name)
            expect(f"health of {name!r}", self._health.Check(request, **self._with()).status, serving)
        unknown = health_pb2.HealthCheckRequest(service="nobody.Knows")
        error = failing(lambda: self._health.Check(unknown, **self._with()))
        expect("code", error.code(), grpc.StatusCode.NOT_FOUND)
        watch = self._health.Watch(health_pb2.HealthCheckRequest(), **self._with())
        expect("watched health", next(watch).status, serving)
        watch.cancel()

    def reflection(self):
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=contract.SERVICE),
        ]
        listed, found = self._reflection.ServerReflectionInfo(iter(requests), **self._with())
        names = [service.name for service in listed.list_services_response.service]
        if contract.SERVICE not in names:
            raise Failure(f"{contract.SERVICE} is not listed: {names}")
        if not found.file_descriptor_response.file_descriptor_proto:
            raise Failure(f"no descriptor of {contract.SERVICE}: {found}")

    def rawmetadata(self):
        """Bytes that are not UTF-8: plain gRPC carries them, the known tunnels do not."""
        value = b"\xab\xab\xab\x00\xff"
        _, call = self._stub.UnaryCall.with_call(
            pb.SimpleRequest(), **self._with((contract.TRAILING, value)))
        expect("trailer", dict(call.trailing_metadata()).get(contract.TRAILING), value)

    def _with(self, *metadata, echo=False):
        echoing = [(contract.ECHO, "on")] if echo else []
        return {"metadata": [*self._target, *metadata, *echoing], "timeout": self._timeout_s}

    def _observe(self, name):
        _, call = self._stub.UnaryCall.with_call(
            pb.SimpleRequest(), **self._with((contract.OBSERVE, name)))
        return dict(call.initial_metadata())

    @staticmethod
    def _check_metadata(call):
        expect("header", dict(call.initial_metadata()).get(INITIAL[0]), INITIAL[1])
        expect("trailer", dict(call.trailing_metadata()).get(TRAILING[0]), TRAILING[1])


class Requests:
    """The requests of a bidirectional call, given one by one."""

    def __init__(self):
        self._queue = queue.SimpleQueue()

    def ping(self, size):
        sent = payload(size, size)
        parameters = [pb.ResponseParameters(size=size)]
        self._queue.put(pb.StreamingOutputCallRequest(payload=sent, response_parameters=parameters))
        return sent

    def end(self):
        self._queue.put(None)

    def __iter__(self):
        return self

    def __next__(self):
        request = self._queue.get()
        if request is None:
            raise StopIteration
        return request


def give_up(timeout_s):
    print(f"client.py: not finished after {timeout_s} s", file=sys.stderr, flush=True)
    os._exit(1)


def failing(call):
    try:
        got = call()
    except grpc.RpcError as error:
        return error
    raise Failure(f"a call that must fail gave {got!r:.200}")


#: What `all` leaves out: the known tunnels cannot carry it.
ON_REQUEST = {"rawmetadata"}
NAMES = [name for name in vars(Cases) if not name.startswith("_")]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="the gateway's address, or the server's")
    parser.add_argument("--name", help=f"the agent to reach, sent as {contract.TUNNEL_TARGET}")
    parser.add_argument("--case", default="all", help=f"all, or of {','.join(NAMES)}")
    parser.add_argument("--timeout", type=int, default=60, help="seconds to live")
    args = parser.parse_args()
    signal.signal(signal.SIGALRM, lambda *_: give_up(args.timeout))
    signal.alarm(args.timeout)
    chosen = [name for name in NAMES if name not in ON_REQUEST]
    if args.case != "all":
        chosen = args.case.split(",")
    with grpc.insecure_channel(args.target) as channel:
        cases = Cases(channel, args.name, args.timeout)
        for name in chosen:
            if name not in NAMES:
                sys.exit(f"client.py: no case is called {name!r}")
            try:
                getattr(cases, name)()
            except (Failure, grpc.RpcError) as error:
                sys.exit(f"client.py: {name}: {error}")
            print(f"ok {name}", flush=True)
    print("ok")


if __name__ == "__main__":
    main()
