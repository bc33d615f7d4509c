#!/usr/bin/env bash
# Proves the peers against each other, without anything of ours in Rust: every program here meets a
# counterpart, on loopback, within a bounded time. DIR is where build.sh put them.
set -euo pipefail

if [ $# -lt 1 ]; then
    echo "usage: selftest.sh DIR [PART...]" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
dir=$(cd "$1" && pwd)
shift
export PATH="$dir:$PATH" PYTHONDONTWRITEBYTECODE=1
python="$dir/venv/bin/python"
log=$(mktemp)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -f "$log"' EXIT

die() {
    echo "selftest: $*" >&2
    cat "$log" >&2
    exit 1
}

# listening COMMAND...: starts it, and sets pid, out (its output) and addr (from its first line).
listening() {
    exec {out}< <(exec "$@" -timeout 60s 2>"$log")
    pid=$!
    local word
    read -r -t 20 word addr <&"$out" && [ "$word" = listening ] || die "$* does not listen"
}

# The same for a program in Python.
python_listening() {
    local program=$1
    shift
    exec {out}< <(exec "$python" "$here/python/$program" "$@" --timeout 60 2>"$log")
    pid=$!
    local word
    read -r -t 20 word addr <&"$out" && [ "$word" = listening ] || die "$program $* does not listen"
}

# ended: what was started must end by itself, and well.
ended() {
    wait "$pid" || die "the listening end: exit code $?"
    pid=
    exec {out}<&-
}

# stopped: what was started is stopped, and must take it well.
stopped() {
    kill "$pid"
    ended
}

# passes COMMAND...: must succeed.
passes() {
    local said
    said=$(timeout 60 "$@" 2>&1) || die "FAILED: $* (at $addr)"$'\n'"$said"
    echo "ok: ${*//$here\/python\//}"
}

# fails TEXT COMMAND...: must fail, with exit code 1, and say the text.
fails() {
    local text=$1 said code=0
    shift
    said=$(timeout 60 "$@" 2>&1) || code=$?
    [ "$code" -eq 1 ] || die "exit code $code, not 1: $*"$'\n'"$said"
    [[ $said == *"$text"* ]] || die "does not say \"$text\": $*"$'\n'"$said"
    echo "ok: fails with $text: $*"
}

py() { passes "$python" "$here/python/$@"; }

go_forward() {
    local flow
    for flow in true false; do
        listening interopserver -no-flow-control="$flow"
        passes interopclient -server "$addr"
        passes interopclient -server "$addr" -no-flow-control
        passes interopclient -server "$addr" -tunnel direct
        passes mixed -server "$addr" -echo -details
        passes mixed -server "$addr" -echo -details -no-flow-control
        passes mixed -server "$addr" -tunnel direct
        stopped
    done
}

go_reverse() {
    local theirs ours
    for theirs in true false; do
        for ours in true false; do
            listening revclient -name peer -echo -details -mixed 50 -no-flow-control="$theirs"
            passes revserver -gateway "$addr" -name peer -no-flow-control="$ours"
            ended
        done
    done
}

old_and_new() {
    listening old -role server
    passes old -role client -addr "$addr"
    stopped
    listening interopserver
    passes old -role client -addr "$addr"
    stopped
    listening old -role revclient
    passes old -role revserver -addr "$addr"
    ended
    listening old -role revclient
    passes revserver -gateway "$addr"
    ended
    listening revclient
    passes old -role revserver -addr "$addr"
    ended
}

# What must fail does: a refused direction, and checks whose server lacks what they ask for.
refusals() {
    listening interopserver
    fails Unimplemented revserver -gateway "$addr"
    fails Unimplemented old -role revserver -addr "$addr"
    fails Unimplemented caller -target "$addr" -case health
    fails "many" caller -target "$addr" -case metadata
    stopped
    listening old -role server
    fails "not finished" interopclient -server "$addr" -timeout 2s
    stopped
}

python_direct() {
    python_listening server.py
    py client.py --target "$addr"
    py client.py --target "$addr" --case rawmetadata
    passes caller -target "$addr"
    passes caller -target "$addr" -case rawmetadata
    passes interopclient -server "$addr" -tunnel direct
    passes mixed -server "$addr" -tunnel direct -echo -details
    stopped
}

# A server of grpctunnel-py is good for one tunnel. It ends no reverse tunnel in order, so an end in
# Go that serves one fails, after its calls have passed.
python_tunnels() {
    local off
    for off in "" --no-flow-control; do
        python_listening tunnel_peer.py --role server $off
        py tunnel_peer.py --role client --addr "$addr" $off
        stopped
        listening interopserver
        py tunnel_peer.py --role client --addr "$addr" $off
        stopped
        python_listening tunnel_peer.py --role server $off
        passes mixed -server "$addr" -echo -ascii
        stopped
        listening revclient -ascii -echo
        py tunnel_peer.py --role revserver --addr "$addr" $off
        ended
        python_listening tunnel_peer.py --role revclient $off
        fails Unavailable revserver -gateway "$addr"
        ended
    done
}

# The module's own test programs, each some 10 s.
module_programs() {
    local flow port
    for flow in true false; do
        port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        addr=127.0.0.1:$port
        exec {out}< <(exec timeout 60 tunneltestsvr -port "$port" -no-flow-control="$flow" 2>&1)
        pid=$!
        local line
        read -r -t 20 line <&"$out" && [[ $line == *Listening* ]] || die "tunneltestsvr does not listen"
        passes tunneltestclient -server-port "$port" -no-flow-control="$flow"
        kill "$pid"
        wait "$pid" || true
        pid=
        exec {out}<&-
    done
}

[ $# -gt 0 ] || set -- go_forward go_reverse old_and_new refusals python_direct python_tunnels module_programs
for part; do
    echo "== $part"
    "$part"
done
echo "== all peers agree"
