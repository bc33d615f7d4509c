"""The program between real servers and real clients while something goes wrong.

    scenarios.py --program GRPCTUNNEL --peers DIR [--nginx PATH] [--long] [--jobs N] [SCENARIO...]

DIR is what `build.sh` has filled. Prints a line of numbers for each scenario, and exits 1 where one
is not as it should be. `--long` makes 50,000 calls and 30 minutes of load where it is thousands and
one minute otherwise; without `--nginx`, `recycled_by_nginx` is not run.
"""

import argparse
import random
import resource
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from harness import (HERE, NAME, Bench, Forwarder, Wrong, descriptors, must, no_failure, report,
                     resident, until)

MIB = 1 << 20
#: Seconds after which a silent agent gets no new calls: 3 of its own, and what a busy machine adds.
NOTICED = 10


# The scenarios. Each gives what is printed.

def official(bench):
    """The official cases, through all ways, to a Go and a Python server, by Go and Python clients."""
    _, go = bench.server()
    python = bench.start(bench.args.peers / "venv/bin/python", HERE / "python/server.py",
                         "--timeout", "600")
    ran = 0
    for local in (go, python.line("listening ")):
        gateway, first = bench.gateway()
        bench.agent(gateway=first, local=local)
        _, chained = bench.gateway()
        bench.agent(chained, first, "hop")
        for way in (first, bench.dial(first), chained):
            said = bench.go("interopclient", "-server", way, "-tunnel", "direct").rest()
            passed = [line for line in said.splitlines() if line.startswith("ok ")]
            must(said.endswith("ok\n"), f"interopclient: {said}\n{bench.log()}")
            ran += len(passed)
    cases = "unary,clientstream,serverstream,bidi,details,deadline,cancel,metadata"
    for client in ([bench.args.peers / "caller", "-target"],
                   [bench.args.peers / "venv/bin/python", HERE / "python/client.py", "--target"]):
        dash = "-" * (len(str(client[-1])) - len("target"))
        for way in (first, bench.dial(first), chained):
            said = bench.start(*client, way, f"{dash}case", cases).rest()
            must(said.endswith("ok\n"), f"{client}: {said}\n{bench.log()}")
            ran += len(cases.split(","))
    return f"{ran} cases passed through a gateway, through dial, and through two gateways"


def recycled_by_age(bench):
    """grpc-go ends every connection after 200 ms."""
    _, local = bench.server("-max-age", "200ms")
    _, gateway = bench.gateway()
    bench.agent(gateway, local)
    calls = 50_000 if bench.args.long else 3_000
    seen = report(bench.load(gateway, "-calls", calls, "-parallel", 16))
    no_failure(seen)
    return f"{seen['ok']} calls, none failed, with MaxConnectionAge 200 ms"


def recycled_by_nginx(bench):
    """nginx ends every connection after 1,000 requests."""
    _, behind = bench.server()
    folder = bench.folder()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    requests = 1_000 if bench.args.long else 200
    (folder / "nginx.conf").write_text(f"""
        daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
        events {{ worker_connections 256; }}
        http {{
            access_log off; keepalive_requests {requests};
            client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
            uwsgi_temp_path {folder}; scgi_temp_path {folder};
            upstream behind {{ server {behind}; keepalive 16; }}
            server {{ listen 127.0.0.1:{port} http2; location / {{ grpc_pass grpc://behind; }} }}
        }}""")
    bench.start(bench.args.nginx, "-c", folder / "nginx.conf", "-p", folder)

    def listens():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    until(listens, "nginx listens")
    _, gateway = bench.gateway()
    bench.agent(gateway, f"127.0.0.1:{port}")
    calls = 20_000 if bench.args.long else 3_000
    seen = report(bench.load(gateway, "-calls", calls, "-parallel", 16))
    no_failure(seen)
    return f"{seen['ok']} calls, none failed, with keepalive_requests {requests} of nginx"


def paused_agent(bench):
    """One of two agents of a name is stopped: soon no new call goes there."""
    _, local = bench.server()
    _, gateway = bench.gateway()
    silent = bench.agent(gateway, local)
    held = bench.load(gateway, "-hold", 1)
    held.line("held")
    bench.agent(gateway, local)
    load = bench.load(gateway, "-for", "25s", "-parallel", 8, "-pause", "5ms", "-deadline", "10s")
    time.sleep(1)
    silent.signal(signal.SIGSTOP)
    since = time.time()
    seen = report(load)
    late = [f for f in seen["failures"] if f["begun"] > 1000 * (since + NOTICED)]
    must(not late, f"{len(late)} calls that began {NOTICED} s after the silence failed: {late[:3]}")
    must(seen["ok"] > 20, f"only {seen['ok']} calls succeeded")
    until(lambda: not held.runs(), "the call that was handed to it before is ended", 300)
    lasted = time.time() - since
    must("a call that is held ended with rpc error: code = Unavailable" in bench.log(), bench.log())
    return (f"{seen['ok']} calls; {len(seen['failures'])} that began within {NOTICED} s of the silence "
            f"failed; one that was open ended UNAVAILABLE after {lasted:.0f} s")


def four_agents(bench):
    """Of four agents of a name one is full, one drains, one is paused: the fourth gets all calls."""
    _, local = bench.server()
    _, gateway = bench.gateway("--max-streams", "4")
    bench.agent(gateway, local)
    full = bench.load(gateway, "-hold", 4)
    full.line("held")
    draining = bench.agent(gateway, local, NAME, "--drain-limit", "600")
    held = bench.load(gateway, "-hold", 2)
    held.line("held")
    draining.signal(signal.SIGTERM)
    until(lambda: "draining" in bench.log(), "an agent drains")
    # Both that are left get calls, until one is silent.
    paused = bench.agent(gateway, local)
    bench.agent(gateway, local)
    no_failure(report(bench.load(gateway, "-calls", 50, "-parallel", 1)))
    load = bench.load(gateway, "-for", "25s", "-parallel", 2, "-pause", "5ms", "-deadline", "10s")
    paused.signal(signal.SIGSTOP)
    since = time.time()
    seen = report(load)
    late = [f for f in seen["failures"] if f["begun"] > 1000 * (since + NOTICED)]
    must(not late, f"{len(late)} calls that began {NOTICED} s after the silence failed: {late[:3]}")
    must(full.runs() and held.runs(), "a call that was open ended")
    return (f"{seen['ok']} calls; {len(seen['failures'])} that began within {NOTICED} s of the silence "
            "failed")


def rolling_restart(bench):
    """Two agents of a name are replaced one after the other, under load: no call fails."""
    _, local = bench.server()
    _, gateway = bench.gateway()
    agents = [bench.agent(gateway, local) for _ in range(2)]
    rounds = 11 if bench.args.long else 3
    load = bench.load(gateway, "-for", f"{2 * rounds}s", "-parallel", 50, "-pause", "20ms", "-mixed")
    codes = []
    for number in range(2 * rounds - 2):
        time.sleep(0.8)
        # Its successor is there before it goes, or comes after it.
        fresh = [bench.agent(gateway, local)] if number % 2 else []
        codes.append(agents.pop(0).end())
        agents += fresh or [bench.agent(gateway, local)]
    seen = report(load)
    no_failure(seen)
    must(not any(codes), f"exit codes {codes}")
    return f"{seen['ok']} calls, none failed, in {len(codes)} restarts"


def half_open(bench):
    """The path to one of two local servers passes no more bytes."""
    _, local = bench.server()
    forwarder = Forwarder(local)
    _, gateway = bench.gateway()
    bench.agent(gateway, forwarder.address)
    bench.agent(gateway, local)
    load = bench.load(gateway, "-for", "45s", "-parallel", 4, "-pause", "20ms", "-deadline", "40s")
    time.sleep(1)
    forwarder.hold()
    since = time.time()
    seen = report(load)
    # Nothing for 10 s, a ping, 10 s for its answer; then a new connection is tried, as long.
    late = [f for f in seen["failures"] if f["begun"] > 1000 * (since + 25)]
    must(not late, f"{len(late)} calls that began 25 s later failed: {late[:3]}")
    said = [line for line in bench.log().splitlines() if "local server" in line]
    must(said, f"the agent logged nothing: {bench.log()}")
    return (f"{seen['ok']} calls, {len(seen['failures'])} failed, all of which began within 25 s; "
            f"logged: {said[0]}")


def silent_connections(bench):
    """150 connections that say nothing, at a gateway with 64 file descriptors."""
    _, local = bench.server()
    gateway = bench.start("sh", "-c", 'ulimit -n 64; exec "$0" "$@"', bench.args.program, "gateway",
                          "--listen", "127.0.0.1:0").line("listening on ")
    bench.agent(gateway, local)
    host, _, port = gateway.rpartition(":")
    silent = []
    for _ in range(150):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex((host, int(port)))
        silent.append(connection)
    seen = report(bench.load(gateway, "-calls", 50, "-parallel", 4))
    no_failure(seen)
    told = [line for line in bench.log().splitlines() if "connections" in line and "turned" in line]

    def ended():
        gone = 0
        for connection in silent:
            try:
                gone += connection.recv(1) == b""
            except BlockingIOError:
                pass
            except OSError:
                gone += 1
        return gone == len(silent)
    until(ended, "every silent connection is ended", 20)
    for connection in silent:
        connection.close()
    must(told, f"nothing was logged: {bench.log()}")
    return f"{seen['ok']} calls beside 150 silent connections, none failed; logged: {told[0]}"


def out_of_descriptors(bench):
    """Accepting fails for a while, since the process may open no more files."""
    _, local = bench.server()
    gateway, front = bench.gateway()
    bench.agent(front, local)
    limits = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    used = descriptors(gateway)
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (used, limits[1]))
    host, _, port = front.rpartition(":")
    with socket.create_connection((host, int(port))):
        told = until(lambda: [line for line in bench.log().splitlines() if "turned away" in line],
                     "it is logged that nothing can be accepted")
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, limits)
    seen = report(bench.load(front, "-calls", 50, "-parallel", 4))
    no_failure(seen)
    return f"{seen['ok']} calls afterwards, none failed; logged: {told[0]}"


def unread_uploads(bench):
    """40 callers with an upload of 64 MiB each that nobody reads, six times over."""
    memory, rounds = 256 if bench.args.long else 64, 6
    silent = bench.start(bench.args.peers / "venv/bin/python", HERE / "python/unread.py",
                         "--timeout", 3600)
    gateway, front = bench.gateway("--memory", memory)
    agent = bench.agent(front, silent.line("listening "))
    both = {"gateway": gateway, "agent": agent}

    def sizes():
        return {name: resident(process) for name, process in both.items()}

    def uploads():
        """The most memory while they wait, until it has not grown for a while."""
        peak, grown = sizes(), time.monotonic()
        callers = [bench.go("upload", "-server", front, "-timeout", "1h") for _ in range(40)]
        end = time.monotonic() + 60
        while time.monotonic() < min(end, grown + 3):
            now = sizes()
            if any(now[name] > peak[name] + MIB for name in both):
                peak = {name: max(peak[name], now[name]) for name in both}
                grown = time.monotonic()
            time.sleep(0.1)
        must(all(caller.runs() for caller in callers), "an upload ended that nobody has read")
        for caller in callers:
            caller.kill()
        until(lambda: descriptors(gateway) <= files, "their connections are over")
        return peak
    before, files = sizes(), descriptors(gateway)
    peaks = [uploads() for _ in range(rounds)]
    for name in both:
        # What the windows of calls inside the tunnel hold comes on top. In every round: how much is
        # taken at once depends on the machine, what is not given back adds up to more than this.
        bound = (memory + 32) * MIB
        taken = [peak[name] - before[name] for peak in peaks]
        must(max(taken) < bound, f"the {name} took {max(taken) // MIB} MiB")
    seen = "; ".join(f"{name} {before[name] // MIB} MiB before, then at most "
                     + ", ".join(str(peak[name] // MIB) for peak in peaks) for name in both)
    return f"{rounds} times 40 uploads of 64 MiB with --memory {memory}: {seen}"


def random_restarts(bench):
    """Mixed load while agents and local servers are restarted at random."""
    seed = bench.args.seed
    chance = random.Random(seed)
    span = 1800 if bench.args.long else 60
    gateway, front = bench.gateway()
    places = []

    def open_place():
        server, local = bench.server("-graceful")
        return {"server": server, "local": local, "agent": bench.agent(front, local)}
    for _ in range(3):
        places.append(open_place())
    warm = report(bench.load(front, "-calls", 2_000, "-parallel", 16, "-mixed"))
    no_failure(warm)
    memory, files = resident(gateway), descriptors(gateway)
    load = bench.load(front, "-for", f"{span}s", "-parallel", 16, "-mixed", "-pause",
                      "40ms" if bench.args.long else "5ms")
    end, killed, drained = time.monotonic() + span - 5, [], 0
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.5, 3))
        place = chance.choice(places)
        places.append(open_place())
        places.remove(place)
        if chance.random() < 0.3:
            # Its calls are lost with the server, which is what a caller sees directly.
            killed.append(place["local"])
            place["server"].kill()
            place["agent"].end()
        else:
            place["agent"].end()
            place["server"].end()
            drained += 1
    seen = report(load)
    # Nothing else that can go wrong with a server excuses a failure.
    lost_with = [f"the local server http://{address} went away" for address in killed]
    excused = [f for f in seen["failures"]
               if f["code"] == "Unavailable" and any(text in f["text"] for text in lost_with)]
    lost = [f"\n        lost with its server: {f['kind']}: {f['text']}" for f in excused]
    wrong = [f for f in seen["failures"] if f not in excused]
    must(not wrong, f"{len(wrong)} calls failed for no good reason (seed {seed}): {wrong[:3]}")
    until(lambda: descriptors(gateway) <= files + 2, "descriptors are as at the beginning", 20)
    grown = resident(gateway) - memory
    must(grown < 24 * MIB, f"{grown // MIB} MiB more than at the beginning")
    return (f"{seen['ok']} calls in {span} s (seed {seed}): {drained} restarts in order, "
            f"{len(killed)} servers killed, {len(excused)} calls lost with them, no other; memory "
            f"{memory // MIB} MiB, then {grown / MIB:+.1f}, descriptors {files} and "
            f"{descriptors(gateway)}{''.join(lost)}")


#: The longest first, so that several at once end soon.
SCENARIOS = [random_restarts, paused_agent, half_open, unread_uploads, official, silent_connections,
             four_agents, rolling_restart, recycled_by_age, recycled_by_nginx, out_of_descriptors]


def run(scenario, args):
    with ExitStack() as stack:
        bench = Bench(args, stack)
        try:
            print(f"ok      {scenario.__name__}: {scenario(bench)}", flush=True)
        except (Wrong, SystemExit) as wrong:
            print(f"FAILED  {scenario.__name__}: {wrong}\n{bench.log()[-2000:]}", flush=True)
            return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=Path, required=True, help="the program grpctunnel")
    parser.add_argument("--peers", type=Path, required=True, help="what build.sh has filled")
    parser.add_argument("--nginx", type=Path, help="the program nginx")
    parser.add_argument("--long", action="store_true", help="tens of thousands of calls, and 30 minutes of load")
    parser.add_argument("--jobs", type=int, default=1, help="scenarios at once")
    parser.add_argument("--seed", type=int, default=1, help="of what is random")
    parser.add_argument("scenarios", nargs="*", help="their names [default: all]")
    args = parser.parse_args()
    chosen = [s for s in SCENARIOS if not args.scenarios or s.__name__ in args.scenarios]
    if not args.nginx and recycled_by_nginx in chosen:
        chosen.remove(recycled_by_nginx)
        print("not run: recycled_by_nginx, without --nginx")
    if not chosen:
        raise SystemExit(f"the scenarios are {' '.join(s.__name__ for s in SCENARIOS)}")
    with ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(lambda scenario: run(scenario, args), chosen))
    print(f"{results.count(True)} of {len(results)} scenarios as they should be")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
