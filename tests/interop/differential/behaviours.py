"""The table: what is tried directly and through gateway and agent, and what is known to differ."""

import base64

ALL = ["all"]
CLOSE = ["half_close"]
#: The order in which gRPC numbers its codes.
CODES = range(1, 17)
SIZES = [0, 1, 5, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 1_000_000, 5_000_000]


def b64(data):
    return base64.b64encode(data).decode()


def details(message, code=5):
    """A `google.rpc.Status` with one detail of an unknown type."""
    text = message.encode()
    detail = b"\x0a\x07x.y/Abc\x12\x04\x00\xff\x80\x01"
    head = bytes([8, code, 0x12, len(text)]) + text
    return b64(head + bytes([0x1A, len(detail)]) + detail)


#: Seconds that a call has which is not about time: for machines that do much else.
PATIENCE = 300


def behaviour(name, server, client, **more):
    return {"name": name, "server": server, "client": client, "timeout": PATIENCE, **more}


def messages():
    for size in SIZES:
        yield behaviour(f"unary of {size} bytes", [["recv", 1], ["send", size]],
                        [["send", size], CLOSE, ALL])
    yield behaviour("no message either way", [["skip", 1]], [CLOSE, ALL])
    yield behaviour("no response message", [["skip", 1]], [["send", 3], CLOSE, ALL])
    yield behaviour("1,000 small responses", [["skip", 1], ["send", 10, 1000]],
                    [["send", 1], CLOSE, ALL])
    yield behaviour("1,000 empty responses", [["skip", 1], ["send", 0, 1000]],
                    [["send", 1], CLOSE, ALL])
    yield behaviour("20 responses of 100 kB", [["skip", 1], ["send", 100_000, 20]],
                    [["send", 1], CLOSE, ALL])
    yield behaviour("1,000 small requests", [["recv"]], [["send", 10, 1000], CLOSE, ALL])
    yield behaviour("1,000 empty requests", [["recv"]], [["send", 0, 1000], CLOSE, ALL])
    yield behaviour("20 requests of 100 kB", [["recv"]], [["send", 100_000, 20], CLOSE, ALL])
    yield behaviour("echo of 100 kB", [["echo"]], [["send", 100_000, 5], CLOSE, ALL])


def order():
    yield behaviour("ping-pong", [["echo"]],
                    [step for n in range(20) for step in (["send", n], ["recv"])] + [CLOSE, ALL])
    yield behaviour("head before any message", [["head", [["x-h", "1"]]], ["skip", 1], ["send", 1]],
                    [["head"], ["send", 1], CLOSE, ALL])
    yield behaviour("head with no message", [["head", [["x-h", "1"]]], ["wait"]],
                    [["head"], ["cancel"], ALL])
    yield behaviour("responses before the first request", [["send", 3, 2], ["recv"]],
                    [["recv", 2], ["send", 5], CLOSE, ALL])
    yield behaviour("OK while the half-close is withheld", [["recv", 1]], [["send", 5], ALL])
    yield behaviour("OK without reading anything", [["send", 4]], [["send", 5, 3], ALL])
    yield behaviour("OK at once", [], [ALL])
    yield behaviour("error while the half-close is withheld", [["skip", 1], ["abort", 9, "no"]],
                    [["send", 5], ALL])
    yield behaviour("error with requests unread", [["abort", 9, "no"]],
                    [["send", 200_000, 20], ALL])
    yield behaviour("half-close is seen", [["recv"], ["send", 7]], [["send", 1, 3], CLOSE, ALL])
    yield behaviour("messages in front of an error", [["skip", 1], ["send", 9, 3], ["abort", 10, "x"]],
                    [["send", 1], CLOSE, ALL])
    yield behaviour("200 kB in front of an error", [["skip", 1], ["send", 200_000], ["abort", 10, "x"]],
                    [["send", 1], CLOSE, ALL])


def statuses():
    for code in CODES:
        yield behaviour(f"status {code}", [["skip", 1], ["abort", code, f"code {code}"]],
                        [["send", 1], CLOSE, ALL])
    for name, text in [("an empty text", ""), ("a text beyond ASCII", "n\u00f6 \u2602 \U0001f600"),
                       ("percent signs and quotes", '100% "%41" \'x\''),
                       ("line breaks in a text", "a\r\nb\tc\n")]:
        yield behaviour(name, [["abort", 5, text]], [CLOSE, ALL])
    for size in (1_000, 10_000, 15_000):
        yield behaviour(f"a text of {size} bytes", [["abort", 5, "", size]], [CLOSE, ALL])
    yield behaviour("a text of 30,000 bytes", [["abort", 5, "", 30_000]], [CLOSE, ALL])
    yield behaviour("details", [["trailers", [["grpc-status-details-bin", details("why")]]],
                                ["abort", 5, "why"]], [CLOSE, ALL])
    yield behaviour("details that say something else",
                    [["trailers", [["grpc-status-details-bin", details("why", 7)]]],
                     ["abort", 5, "other"]], [CLOSE, ALL])
    yield behaviour("details that are no google.rpc.Status",
                    [["trailers", [["grpc-status-details-bin", b64(b"\xff\xfe no")]]],
                     ["abort", 5, "why"]], [CLOSE, ALL])
    yield behaviour("a handler that crashes", [["crash"]], [CLOSE, ALL])
    yield behaviour("an unknown method", [], [["send", 1], CLOSE, ALL],
                    method="/grpctunnel.differential.Script/Unknown")
    yield behaviour("an unknown service", [], [["send", 1], CLOSE, ALL], method="/no.such.Service/M")
    yield behaviour("a path with a prefix", [], [["send", 1], CLOSE, ALL],
                    method="/prefix/grpctunnel.differential.Script/Play")


def metadata():
    def both(name, pairs):
        yield behaviour(f"request metadata: {name}", [["metadata"]], [CLOSE, ALL], metadata=pairs)
        yield behaviour(f"initial metadata: {name}", [["head", pairs], ["send", 1]], [CLOSE, ALL])
        yield behaviour(f"trailers: {name}", [["trailers", pairs], ["send", 1]], [CLOSE, ALL])
        yield behaviour(f"an error's trailers: {name}", [["trailers", pairs], ["abort", 5, "no"]],
                        [CLOSE, ALL])

    yield from both("one value", [["x-a", "1"]])
    yield from both("several values of one key", [["x-a", "1"], ["x-a", "2, 3"], ["x-a", "1"]])
    yield from both("an empty value", [["x-a", ""]])
    yield from both("every printable character", [["x-a", bytes(range(0x21, 0x7F)).decode()]])
    yield from both("a binary value that is text", [["x-a-bin", b64("n\u00f6 \u2602".encode())]])
    yield from both("an empty binary value", [["x-a-bin", ""]])
    yield from both("a binary value of any bytes", [["x-a-bin", b64(bytes(range(256)))]])
    yield from both("a trace", [["grpc-trace-bin", b64(b"\x00\x00\xff\xfe\x80")]])
    yield from both("30,000 bytes", [["x-a", "v" * 30_000]])
    yield from both("200 keys", [[f"x-{n}", str(n)] for n in range(200)])
    yield behaviour("authorization and user-agent", [["metadata"]], [CLOSE, ALL],
                    metadata=[["authorization", "Bearer t"]])
    yield behaviour("the headers of gRPC itself", [["skip", 1], ["send", 1]],
                    [["send", 1], CLOSE, ALL], transport=True)
    yield behaviour("the authority", [["authority"]], [CLOSE, ALL], authority="api.example.com")


def compression():
    yield behaviour("gzip requests", [["recv"]], [["send", 10_000, 3], CLOSE, ALL], compress=True)
    yield behaviour("gzip responses", [["compress"], ["send", 10_000, 3]], [CLOSE, ALL])
    yield behaviour("gzip both ways", [["compress"], ["echo"]], [["send", 10_000, 3], CLOSE, ALL],
                    compress=True)


def flags():
    """Played against a server without a library, which says what it saw."""
    raw = {"raw": True}
    yield behaviour("gzip requests at a raw server", [], [["send", 10_000, 3], CLOSE, ALL],
                    compress=True, expects='"encoding":"gzip","accepts_gzip":true,"flags":"111"',
                    **raw)
    yield behaviour("plain requests at a raw server", [], [["send", 10_000, 3], CLOSE, ALL],
                    expects='"flags":"000"', **raw)


def ends():
    # Which end notices a deadline first is chance, and so are the words (`text=False`).
    yield behaviour("a deadline is seen", [["deadline"]], [CLOSE, ALL], timeout=1000)
    yield behaviour("a deadline that passes", [["wait"]], [CLOSE, ALL], timeout=0.5, text=False)
    yield behaviour("a deadline that passes after messages", [["send", 5, 3], ["wait"]], [CLOSE, ALL],
                    timeout=5, text=False)
    yield behaviour("a deadline that has passed", [["wait"]], [CLOSE, ALL], timeout=0.000001, text=False)
    yield behaviour("cancelled before any answer", [["wait"]], [["sleep", 0.1], ["cancel"], ALL])
    yield behaviour("cancelled after a message", [["send", 5], ["wait"]],
                    [["recv"], ["cancel"], ALL])
    yield behaviour("cancelled in the middle of an upload", [["wait"]],
                    [["send", 100_000, 30], ["cancel"], ALL])


def table():
    found = [b for part in (messages, order, statuses, metadata, compression, flags, ends) for b in part()]
    names = [b["name"] for b in found]
    assert len(set(names)) == len(names), "two behaviours of one name"
    return found


_ALL = ("python", "go", "js")
#: What differs: by name the clients that see it, and why. A row here that begins to pass fails
#: the suite.
KNOWN = {
    # A status is one frame, and its size a limit of the receiver against peers that send what is too
    # large. It is what a grpcio client takes of trailers at most, unless it is told otherwise, as here.
    "a text of 30,000 bytes": (_ALL, "a tunnel carries 16 KiB of text and details; see README"),
    # The method of a call is `service/method` in the protocol; other peers would misread a second
    # slash. Which words a server has for a method that it does not know is its own affair.
    "a path with a prefix": (_ALL, "refused by the agent with the same code, in words of its own"),
}


def known(name, client):
    """Why this client sees a difference, if it is known to."""
    clients, why = KNOWN.get(name, ((), None))
    return why if client in clients else None


#: What is run in a short run: one row of each kind.
SHORT = [
    "unary of 65537 bytes", "1,000 small responses", "1,000 small requests", "ping-pong",
    "head before any message", "error while the half-close is withheld", "status 5",
    "a text beyond ASCII", "details", "an unknown method",
    "request metadata: several values of one key", "gzip requests at a raw server", "trailers: a binary value that is text",
    "an error's trailers: one value", "a deadline that passes", "cancelled after a message",
]
