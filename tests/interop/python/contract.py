"""What the programs here agree on beyond the official interop test service.

Everything is asked for by request metadata, so an official client sees the official behaviour.
"""

from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

SERVICE = "grpc.testing.TestService"

#: Official: the value comes back in the response headers.
INITIAL = "x-grpc-test-echo-initial"
#: Official: the value comes back in the trailers.
TRAILING = "x-grpc-test-echo-trailing-bin"
#: All values come back in the response headers, in their order (UnaryCall).
MANY = "x-echo-many"
#: Response payloads hold the request's payload in place of zeros.
ECHO = "x-echo-payload"
#: A call that fails carries details; the value is the reason in the first of them.
DETAILS = "x-status-details"
#: Names a call, so that it can be observed.
CALL_ID = "x-call-id"
#: A UnaryCall with this waits for the end of the call of that name and says in its headers how it
#: ended (`finished` or `cancelled`) and how long it had, if it had a deadline.
OBSERVE = "x-observe-call"
CALL_END = "x-call-end"
CALL_TIMEOUT = "x-call-timeout-ms"
#: Names the agent that a gateway shall pass a call to.
TUNNEL_TARGET = "x-tunnel-target"
#: The trailer in which gRPC carries a whole status.
STATUS_TRAILER = "grpc-status-details-bin"


def status_with_details(code, message, reason):
    """A google.rpc.Status with a detail that everybody knows, and one whose type nobody knows and
    whose bytes are no message and no text."""
    known = any_pb2.Any()
    known.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="interop.example"))
    opaque = any_pb2.Any(type_url="type.googleapis.com/interop.Opaque", value=b"\x00\xff\xfe\x80\x01")
    return status_pb2.Status(code=code, message=message, details=[known, opaque])
