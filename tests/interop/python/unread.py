"""A grpcio server whose every method takes its requests and reads none of them."""

import argparse
import signal
import threading
from concurrent import futures

import grpc


class Unread(grpc.GenericRpcHandler):
    def __init__(self):
        self.over = threading.Event()

    def service(self, _details):
        return grpc.stream_stream_rpc_method_handler(self._wait)

    def _wait(self, _requests, context):
        ended = threading.Event()
        if context.add_callback(ended.set):
            while not ended.wait(0.2) and not self.over.is_set():
                pass
        return iter(())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", help="the address to listen on")
    parser.add_argument("--timeout", type=float, default=600, help="seconds to live")
    args = parser.parse_args()
    unread = Unread()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: unread.over.set())
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
    server.add_generic_rpc_handlers([unread])
    port = server.add_insecure_port(args.listen)
    server.start()
    print(f"listening {args.listen.rpartition(':')[0]}:{port}", flush=True)
    unread.over.wait(args.timeout)
    server.stop(grace=None).wait()


if __name__ == "__main__":
    main()
