"""Runs each behaviour directly and through gateway and agent, and compares what the client saw.

    run.py --program GRPCTUNNEL --peers DIR [--way gateway|dial|chain] [--client python,go,js]
           [--short] [--only TEXT] [--show]

DIR is what `tests/interop/build.sh` has filled. Exits 1 where something differs that is not known
to, or no longer differs that is. Times are printed and never compared.
"""

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path

import behaviours

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from processes import Program  # noqa: E402

#: The only thing that a gateway adds, and what it takes out.
OF_THE_TUNNEL = ("x-tunnel-hops", "x-tunnel-target")
#: What each connection says anew; some clients show it. One behaviour compares it.
OF_THE_TRANSPORT = ("content-type", "grpc-accept-encoding", "grpc-encoding")
NAME = "differential"


def comparable(observation, behaviour):
    """What must be equal: all but the times, and what the tunnel may add."""

    def clean(event):
        if event[0] == "end" and not behaviour.get("text", True):
            return ["end", event[1]]
        if event[0] != "message" or not event[2].startswith("[["):
            return event
        pairs = [pair for pair in json.loads(event[2]) if pair[0] not in OF_THE_TUNNEL]
        return ["message", "metadata", pairs]

    def bare(event):
        if event[0] in ("head", "end") and not behaviour.get("transport"):
            event = [*event[:-1], [p for p in event[-1] if p[0] not in OF_THE_TRANSPORT]]
        return clean(event)

    events = []
    for event in map(bare, observation["events"]):
        # A head may be noticed more than once; the first time counts.
        if event[0] != "head" or not any(before[0] == "head" for before in events):
            events.append(event)
    return events


def client(language, peers, server, target=""):
    if language == "python":
        return Program(peers / "venv/bin/python", HERE / "client.py", "--server", server,
                       "--target", target, piped=True)
    if language == "js":
        return Program("node", HERE.parent / "js/differential.js", "--modules", peers / "js",
                       "--server", server, "--target", target, piped=True)
    return Program(peers / "differential", "-server", server, "-target", target, piped=True)


def by_gateway(program, programs, local, name=NAME):
    """Gateway and agent: where the calls go, and what they name."""
    gateway = programs.enter_context(Program(program, "gateway", "--listen", "127.0.0.1:0"))
    front = gateway.line("listening on ")
    agent = programs.enter_context(Program(
        program, "agent", "--gateway", f"http://{front}", "--name", name,
        "--local", f"http://{local}"))
    agent.line("connected to ")
    return front, name


def by_dial(program, programs, local):
    """The same behind a dialled port, where nothing is named."""
    front, name = by_gateway(program, programs, local)
    dial = programs.enter_context(Program(
        program, "dial", "--gateway", f"http://{front}", "--name", name, "--listen", "127.0.0.1:0"))
    address = dial.line("listening on ")
    dial.line("connected to ")
    return address, ""


def by_chain(program, programs, local):
    """Two gateways."""
    second, name = by_gateway(program, programs, local)
    first, hop = by_gateway(program, programs, second, "hop")
    return first, f"{hop}/{name}"


WAYS = {"gateway": by_gateway, "dial": by_dial, "chain": by_chain}


class Server:
    """A server, and the way to it through a tunnel."""

    def __init__(self, program, programs, way, *command):
        self.direct = programs.enter_context(Program(*command)).line("listening ")
        self.tunnel, self.target = WAYS[way](program, programs, self.direct)

    def clients(self, language, peers, programs):
        """A client that calls it directly, and one that calls it through the tunnel."""
        direct = client(language, peers, self.direct)
        tunnel = client(language, peers, self.tunnel, self.target)
        return programs.enter_context(direct), programs.enter_context(tunnel)


def compare(language, peers, servers, chosen, show):
    """Prints a line for each behaviour; gives how many are not as they should be."""
    wrong = 0
    with ExitStack() as programs:
        clients = {raw: server.clients(language, peers, programs)
                   for raw, server in servers.items()}
        for behaviour in chosen:
            name = behaviour["name"]
            known = behaviours.known(name, language)
            direct, tunnel = clients[behaviour.get("raw", False)]
            ours, theirs = tunnel.ask(behaviour), direct.ask(behaviour)
            ours, theirs = ({**seen, "events": comparable(seen, behaviour)}
                            for seen in (ours, theirs))
            # A direct call that is not what the table says proves nothing.
            same = ours["events"] == theirs["events"] \
                and behaviour.get("expects", "") in str(theirs["events"])
            verdict = {(True, False): "ok", (False, True): "known", (False, False): "DIFFERS",
                       (True, True): "PASSES"}[same, known is not None]
            if verdict in ("DIFFERS", "PASSES"):
                wrong += 1
            times = f"{theirs.get('seconds', 0):7.3f} {ours.get('seconds', 0):7.3f} s"
            print(f"{verdict:8}{language:7}{times}  {name}" + (f" ({known})" if known else ""))
            if verdict == "PASSES":
                print("        it is listed in behaviours.KNOWN and no longer differs")
            if verdict == "DIFFERS" or show:
                print(f"        directly: {str(theirs['events'])[:600]}")
                print(f"        tunnel:   {str(ours['events'])[:600]}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=Path, required=True, help="the program grpctunnel")
    parser.add_argument("--peers", type=Path, required=True, help="what build.sh has filled")
    parser.add_argument("--way", choices=WAYS, default="gateway", help="how the calls go")
    parser.add_argument("--client", default="python,go,js", help="the clients, with commas between")
    parser.add_argument("--short", action="store_true", help="one behaviour of each kind")
    parser.add_argument("--only", default="", help="behaviours with this text in their name")
    parser.add_argument("--show", action="store_true", help="print what was seen")
    args = parser.parse_args()
    chosen = [b for b in behaviours.table()
              if args.only in b["name"] and (not args.short or b["name"] in behaviours.SHORT)]
    if not chosen:
        raise SystemExit("no behaviour is called so")
    wrong = 0
    with ExitStack() as programs:
        servers = {
            False: Server(args.program, programs, args.way,
                          args.peers / "venv/bin/python", HERE / "server.py"),
            True: Server(args.program, programs, args.way,
                         args.peers / "rawserver", "-timeout", "30m"),
        }
        for language in args.client.split(","):
            wrong += compare(language, args.peers, servers, chosen, args.show)
    print(f"{len(chosen)} behaviours, {wrong} not as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
