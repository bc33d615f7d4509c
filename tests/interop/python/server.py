"""A plain grpcio server: the interop test service, health and reflection. It knows of no tunnel.

Prints `listening ADDR`, and ends on SIGTERM or when its time is over.
"""

import argparse
import signal
import threading
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import contract
import testservice_pb2 as pb
import testservice_pb2_grpc as pb_grpc

CODES = {code.value[0]: code for code in grpc.StatusCode}
OBSERVER_PATIENCE_S = 10
CANCELLATION_PATIENCE_S = 3
#: grpcio gives calls without a deadline more time than this, not None.
FOREVER_S = 1e9


class Call:
    """One call as its handler sees it."""

    def __init__(self, context):
        self.metadata = context.invocation_metadata()
        self.timeout_s = context.time_remaining()
        if self.timeout_s is not None and self.timeout_s > FOREVER_S:
            self.timeout_s = None
        self.finished = False
        #: Set when the call is over, whoever ended it.
        self.over = threading.Event()
        if not context.add_callback(self.over.set):
            self.over.set()

    def finish(self):
        """The handler has done all that it had to do, unless the call was over before.

        To a handler, the cancellation of a call may look like the end of its requests for a moment,
        so a call that is observed is given time to be over.
        """
        patience = 0 if self.first(contract.CALL_ID) is None else CANCELLATION_PATIENCE_S
        self.finished = not self.over.wait(patience)

    def first(self, key):
        return next((value for name, value in self.metadata if name == key), None)

    def all(self, key):
        return [value for name, value in self.metadata if name == key]


class TestService(pb_grpc.TestServiceServicer):
    """The official service with the additions of `contract`."""

    def __init__(self):
        self._named = {}
        self._begun = threading.Condition()

    def EmptyCall(self, request, context):
        return pb.Empty()

    def UnaryCall(self, request, context):
        call = self._begin(context)
        headers = self._headers(call)
        headers += [(contract.MANY, value) for value in call.all(contract.MANY)]
        observed = call.first(contract.OBSERVE)
        if observed is not None:
            headers += self._observe(observed, context)
        context.send_initial_metadata(headers)
        self._end_if_asked(call, request, context)
        payload = request.payload if call.first(contract.ECHO) else zeros(request.response_size)
        call.finish()
        return pb.SimpleResponse(payload=payload)

    def StreamingInputCall(self, request_iterator, context):
        call = self._begin(context)
        total = sum(len(request.payload.body) for request in request_iterator)
        call.finish()
        return pb.StreamingInputCallResponse(aggregated_payload_size=total)

    def StreamingOutputCall(self, request, context):
        call = self._begin(context)
        yield from self._responses(call, request)
        call.finish()

    def FullDuplexCall(self, request_iterator, context):
        call = self._begin(context)
        context.send_initial_metadata(self._headers(call))
        for request in request_iterator:
            self._end_if_asked(call, request, context)
            yield from self._responses(call, request)
        context.set_trailing_metadata(self._trailers(call))
        call.finish()

    def _begin(self, context):
        call = Call(context)
        name = call.first(contract.CALL_ID)
        if name is not None:
            with self._begun:
                self._named[name] = call
                self._begun.notify_all()
        return call

    def _observe(self, name, context):
        with self._begun:
            begun = self._begun.wait_for(lambda: name in self._named, OBSERVER_PATIENCE_S)
        if not begun or not self._named[name].over.wait(OBSERVER_PATIENCE_S):
            what = "has not ended" if begun else "was never begun"
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"call {name} {what}")
        call = self._named[name]
        found = [(contract.CALL_END, "finished" if call.finished else "cancelled")]
        if call.timeout_s is not None:
            found.append((contract.CALL_TIMEOUT, str(int(call.timeout_s * 1000))))
        return found

    @staticmethod
    def _responses(call, request):
        for parameters in request.response_parameters:
            if parameters.interval_us and call.over.wait(parameters.interval_us / 1e6):
                return
            echo = call.first(contract.ECHO)
            payload = request.payload if echo else zeros(parameters.size)
            yield pb.StreamingOutputCallResponse(payload=payload)

    @staticmethod
    def _headers(call):
        return [(contract.INITIAL, value) for value in call.all(contract.INITIAL)[:1]]

    @staticmethod
    def _trailers(call):
        return [(contract.TRAILING, value) for value in call.all(contract.TRAILING)[:1]]

    def _end_if_asked(self, call, request, context):
        """Sets the trailers, and ends the call with a status if the request holds one."""
        trailers = self._trailers(call)
        asked = request.response_status
        reason = call.first(contract.DETAILS)
        if asked.code and reason is not None:
            status = contract.status_with_details(asked.code, asked.message, reason)
            trailers.append((contract.STATUS_TRAILER, status.SerializeToString()))
        context.set_trailing_metadata(trailers)
        if asked.code:
            call.finish()
            context.abort(CODES[asked.code], asked.message)


def zeros(size):
    return pb.Payload(body=bytes(size))


def serve(listen):
    """Starts the server; gives it and the address that it listens on."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
    pb_grpc.add_TestServiceServicer_to_server(TestService(), server)
    checker = health.HealthServicer()
    checker.set("", health_pb2.HealthCheckResponse.SERVING)
    checker.set(contract.SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    names = (contract.SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    port = server.add_insecure_port(listen)
    server.start()
    return server, f"{listen.rpartition(':')[0]}:{port}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", help="the address to listen on")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds to live; 0 for no end")
    args = parser.parse_args()
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    server, address = serve(args.listen)
    print(f"listening {address}", flush=True)
    stop.wait(args.timeout or None)
    server.stop(grace=None).wait()


if __name__ == "__main__":
    main()
