"""A peer that speaks the tunnel protocol by grpctunnel-py: any end of a forward or reverse tunnel.

server and revclient print `listening ADDR`; revserver prints `tunnel open` when the other end has
taken its tunnel; client and revclient make calls, print `ok NAME` for each kind and `ok` at the end.
The package carries no empty messages and gives the caller of a unary call no metadata, so neither is
in the checks. It keeps the state of all tunnels of one handler in one place, so a server or revserver
here is good for one tunnel in its life.
"""

import argparse
import asyncio
import logging
import signal
import sys

import grpc
from grpctunnel import (
    PendingChannel, ReverseTunnelServer, TunnelOptions, TunnelServiceHandler,
    TunnelServiceHandlerOptions)
from grpctunnel.proto.v1 import TunnelServiceStub, add_TunnelServiceServicer_to_server

import contract
import testservice_pb2 as pb

LARGE = 200_000
SIZES = (1, 16_384, LARGE)


class Failure(Exception):
    """Something is not as expected."""


# The handlers. The package hands over bytes, and a stream for whatever there may be several of.

async def unary_call(data, stream, context):
    request = pb.SimpleRequest.FromString(data)
    await echo_metadata(stream, context)
    end_if_asked(request)
    echo = value_of(context, contract.ECHO)
    payload = request.payload if echo else zeros(request.response_size)
    await stream.send_message(pb.SimpleResponse(payload=payload))


async def empty_call(data, stream, context):
    await stream.send_message(pb.Empty())


async def streaming_input_call(stream, context):
    total = 0
    async for data in messages(stream):
        total += len(pb.StreamingInputCallRequest.FromString(data).payload.body)
    return pb.StreamingInputCallResponse(aggregated_payload_size=total)


async def streaming_output_call(data, stream, context):
    await respond(stream, context, pb.StreamingOutputCallRequest.FromString(data))


async def full_duplex_call(stream, context):
    await echo_metadata(stream, context)
    async for data in messages(stream):
        request = pb.StreamingOutputCallRequest.FromString(data)
        end_if_asked(request)
        await respond(stream, context, request)


async def messages(stream):
    while True:
        try:
            data = await stream.recv_message()
        except StopAsyncIteration:
            return
        yield data


async def respond(stream, context, request):
    echo = value_of(context, contract.ECHO)
    for parameters in request.response_parameters:
        payload = request.payload if echo else zeros(parameters.size)
        await stream.send_message(pb.StreamingOutputCallResponse(payload=payload))


async def echo_metadata(stream, context):
    initial = value_of(context, contract.INITIAL)
    if initial is not None:
        await stream.send_response_headers(grpc.aio.Metadata((contract.INITIAL, initial)))
    trailing = value_of(context, contract.TRAILING)
    if trailing is not None:
        await context.set_trailing_metadata(grpc.aio.Metadata((contract.TRAILING, trailing)))


def end_if_asked(request):
    asked = request.response_status
    if asked.code:
        code = next(code for code in grpc.StatusCode if code.value[0] == asked.code)
        raise error(code, asked.message)


def error(code, message):
    empty = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, empty, empty, details=message)


def value_of(context, key):
    return next((value for name, value in context.invocation_metadata() if name == key), None)


def zeros(size):
    return pb.Payload(body=bytes(size))


def register(registrar):
    prefix = f"{contract.SERVICE}/"
    # As a server stream of one message: a handler of a unary call cannot send headers.
    registrar.register_method(prefix + "EmptyCall", empty_call, False, True)
    registrar.register_method(prefix + "UnaryCall", unary_call, False, True)
    registrar.register_method(prefix + "StreamingInputCall", streaming_input_call, True, False)
    registrar.register_method(prefix + "StreamingOutputCall", streaming_output_call, False, True)
    registrar.register_method(prefix + "FullDuplexCall", full_duplex_call, True, True)


# The calls.

def method(name):
    return f"/{contract.SERVICE}/{name}"


def unary_stub(channel):
    return channel.unary_unary(
        method("UnaryCall"), pb.SimpleRequest.SerializeToString, pb.SimpleResponse.FromString)


def duplex_stub(channel):
    return channel.stream_stream(
        method("FullDuplexCall"), pb.StreamingOutputCallRequest.SerializeToString,
        pb.StreamingOutputCallResponse.FromString)


async def unary(channel):
    call = unary_stub(channel)
    for size in SIZES:
        response = await call(pb.SimpleRequest(payload=zeros(size), response_size=size))
        expect(f"response to {size} bytes", response.payload.body, bytes(size))


async def bidi(channel):
    call = await duplex_stub(channel)()
    for size in SIZES:
        parameters = [pb.ResponseParameters(size=size)]
        await call.write(pb.StreamingOutputCallRequest(
            payload=zeros(size), response_parameters=parameters))
        response = await call.read()
        expect(f"response to {size} bytes", response.payload.body, bytes(size))
    await call.done_writing()
    expect("the end", await call.read(), None)


async def failure(channel):
    aborted = grpc.StatusCode.ABORTED
    asked = pb.EchoStatus(code=aborted.value[0], message="as asked")
    await fails(unary_stub(channel)(pb.SimpleRequest(response_status=asked)), aborted, "as asked")


def expect(what, got, want):
    if got != want:
        raise Failure(f"{what} is {got!r:.200}, not {want!r:.200}")


# The official cases.

async def large_unary(channel):
    sent, due = 271_828, 314_159
    response = await unary_stub(channel)(
        pb.SimpleRequest(payload=zeros(sent), response_size=due))
    expect("the response", response.payload.body, bytes(due))


REQUESTS = (27_182, 8, 1_828, 45_904)
RESPONSES = (31_415, 9, 2_653, 58_979)


async def client_streaming(channel):
    async def requests():
        for size in REQUESTS:
            yield pb.StreamingInputCallRequest(payload=zeros(size))

    call = channel.stream_unary(
        method("StreamingInputCall"), pb.StreamingInputCallRequest.SerializeToString,
        pb.StreamingInputCallResponse.FromString)
    response = await call(requests())
    expect("the sum", response.aggregated_payload_size, sum(REQUESTS))


async def server_streaming(channel):
    request = pb.StreamingOutputCallRequest(
        response_parameters=[pb.ResponseParameters(size=size) for size in RESPONSES])
    call = await channel.unary_stream(
        method("StreamingOutputCall"), pb.StreamingOutputCallRequest.SerializeToString,
        pb.StreamingOutputCallResponse.FromString)(request)
    sizes = [len(response.payload.body) async for response in call]
    expect("the sizes of the responses", sizes, list(RESPONSES))


async def ping_pong(channel):
    call = await duplex_stub(channel)()
    for sent, due in zip(REQUESTS, RESPONSES):
        await call.write(pb.StreamingOutputCallRequest(
            payload=zeros(sent), response_parameters=[pb.ResponseParameters(size=due)]))
        expect("a response", (await call.read()).payload.body, bytes(due))
    await call.done_writing()
    expect("the end", await call.read(), None)


async def status_code_and_message(channel):
    await ends_with(channel, "test status message")


async def special_status_message(channel):
    await ends_with(
        channel, "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n")


async def ends_with(channel, message):
    unknown = grpc.StatusCode.UNKNOWN
    asked = pb.EchoStatus(code=unknown.value[0], message=message)
    await fails(unary_stub(channel)(pb.SimpleRequest(response_status=asked)), unknown, message)


async def unimplemented_method(channel):
    await unimplemented(channel, method("UnimplementedCall"))


async def unimplemented_service(channel):
    await unimplemented(channel, "/grpc.testing.UnimplementedService/UnimplementedCall")


async def unimplemented(channel, path):
    stub = channel.unary_unary(
        path, pb.SimpleRequest.SerializeToString, pb.SimpleResponse.FromString)
    # The official request is empty, which the package does not carry.
    await fails(stub(pb.SimpleRequest(response_size=1)), grpc.StatusCode.UNIMPLEMENTED)


async def fails(call, code, message=None):
    try:
        await call
    except grpc.RpcError as got:
        expect("the code", got.code(), code)
        if message is not None:
            expect("the message", got.details(), message)
        return
    raise Failure("a call that must fail did not")


CHECKS = {"unary": unary, "bidi": bidi, "failure": failure}
#: The official cases that can be written with the package: it carries no empty message, shows the
#: caller no metadata, and takes no deadline.
CASES = {
    "large_unary": large_unary, "client_streaming": client_streaming,
    "server_streaming": server_streaming, "ping_pong": ping_pong,
    "status_code_and_message": status_code_and_message,
    "special_status_message": special_status_message,
    "unimplemented_method": unimplemented_method, "unimplemented_service": unimplemented_service,
}


async def call_all(channel, names):
    chosen = {name: CASES[name] for name in names.split(",")} if names else CHECKS
    for name, check in chosen.items():
        await check(channel)
        print(f"ok {name}", flush=True)


# The roles.

def new_handler(args):
    return TunnelServiceHandler(
        TunnelServiceHandlerOptions(disable_flow_control=args.no_flow_control))


async def listen(handler, addr):
    server = grpc.aio.server()
    add_TunnelServiceServicer_to_server(handler.service(), server)
    port = server.add_insecure_port(addr)
    await server.start()
    print(f"listening {addr.rpartition(':')[0]}:{port}", flush=True)
    return server


async def run_server(args, stop):
    handler = new_handler(args)
    register(handler)
    server = await listen(handler, args.addr)
    await stop.wait()
    await server.stop(None)


async def run_client(args, stop):
    async with grpc.aio.insecure_channel(args.addr) as connection:
        options = TunnelOptions(disable_flow_control=args.no_flow_control)
        channel = await PendingChannel(TunnelServiceStub(connection), options).start()
        await call_all(channel, args.cases)
        await channel.close_async()


async def run_revserver(args, stop):
    async with grpc.aio.insecure_channel(args.addr) as connection:
        options = TunnelOptions(disable_flow_control=args.no_flow_control)
        server = ReverseTunnelServer(Announcing(TunnelServiceStub(connection)), options)
        register(server)
        names = [("x-tunnel-name", args.name)] if args.name else []
        serving = asyncio.create_task(server.serve(metadata=grpc.aio.Metadata(*names)))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            started, ended = serving.result()
            # After a clean end the package takes grpcio's end-of-stream mark for a message.
            clean = ended is None or isinstance(ended, AttributeError) and "_EOF" in str(ended)
            if not (started and clean):
                raise Failure(f"reverse tunnel (opened: {started}): {ended}")
            return
        await server.stop()


class Announcing:
    """A stub that says in one line that the tunnel was taken, for which the package has no hook."""

    def __init__(self, stub):
        self._stub = stub

    def OpenReverseTunnel(self, **options):
        stream = self._stub.OpenReverseTunnel(wait_for_ready=True, **options)
        self._announcing = asyncio.create_task(self._announce(stream))
        return stream

    @staticmethod
    async def _announce(stream):
        if await stream.initial_metadata():
            print("tunnel open", flush=True)


async def run_revclient(args, stop):
    handler = new_handler(args)
    server = await listen(handler, args.addr)
    try:
        channel = handler.as_channel()
        await channel.wait_for_ready()
        await call_all(channel, args.cases)
    finally:
        # The package never ends a reverse tunnel in order; its other end sees a lost one.
        await server.stop(None)


ROLES = {
    # The role, and whether being stopped from outside is its success.
    "server": (run_server, True),
    "client": (run_client, False),
    "revserver": (run_revserver, True),
    "revclient": (run_revclient, False),
}


async def run(args):
    role, serves = ROLES[args.role]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    if serves:
        loop.call_later(args.timeout, stop.set)
        await role(args, stop)
        return
    try:
        await asyncio.wait_for(role(args, stop), args.timeout)
    except asyncio.TimeoutError:
        raise Failure(f"not finished after {args.timeout} s") from None
    print("ok", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", required=True, choices=list(ROLES))
    parser.add_argument("--addr", default="127.0.0.1:0", help="where to listen, or to connect to")
    parser.add_argument("--name", help="revserver: the name to send as x-tunnel-name")
    parser.add_argument("--cases", help="client, revclient: play these official cases, with commas "
                        "between, in place of the checks")
    parser.add_argument("--no-flow-control", action="store_true", help="revision zero only")
    parser.add_argument("--timeout", type=float, default=60, help="seconds to live")
    args = parser.parse_args()
    # The package reports ends that it has handled; what matters is reported here.
    logging.disable(logging.ERROR)
    try:
        asyncio.run(run(args))
    except (Failure, grpc.RpcError) as failed:
        sys.exit(f"tunnel_peer.py: {failed}")


if __name__ == "__main__":
    main()
