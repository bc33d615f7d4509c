#!/usr/bin/env bash
# Builds the real peers into a directory: every Go program, a Python environment in DIR/venv, and
# packages for Node in DIR/js. Does nothing that is done already. Exit 3: Go, Python or Node is missing,
# said in one line.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: build.sh DIR" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
dir=$(cd "$1" && pwd)

missing() {
    echo "interop: $1 is missing" >&2
    exit 3
}

# What is installed is used; nothing fetches another toolchain.
export GOTOOLCHAIN=local GOWORK=off
needed=$(awk '$1 == "go" { print $2 }' "$here/go/go.mod")
command -v go >/dev/null || missing "Go $needed or newer"
oldest=$(printf '%s\ngo%s\n' "$(go env GOVERSION)" "$needed" | sort -V | head -n 1)
[ "$oldest" = "go$needed" ] || missing "Go $needed or newer"
python=$(command -v python3 || command -v python) || missing "Python 3.10 or newer"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || missing "Python 3.10 or newer"
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing "Python's venv"
command -v node >/dev/null && command -v npm >/dev/null || missing "Node 18 or newer, with npm"
node -e 'process.exit(Number(process.versions.node.split(".")[0] < 18))' \
    || missing "Node 18 or newer"

# Tests that run at the same time may all build.
if command -v flock >/dev/null; then
    exec 9>"$dir/.lock"
    flock -w 900 9
fi

(
    cd "$here/go"
    go build -buildvcs=false -o "$dir/" ./cmd/... \
        github.com/jhump/grpctunnel/internal/cmd/tunneltestsvr \
        github.com/jhump/grpctunnel/internal/cmd/tunneltestclient
)
(cd "$here/go-v010" && go build -buildvcs=false -o "$dir/" ./cmd/...)

made_from="$("$python" --version) $(cksum <"$here/python/requirements.txt")"
if [ "$(cat "$dir/venv/made-from" 2>/dev/null)" != "$made_from" ]; then
    "$python" -m venv --clear "$dir/venv"
    "$dir/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        -r "$here/python/requirements.txt"
    echo "$made_from" >"$dir/venv/made-from"
fi

made_from="$(node --version) $(cksum <"$here/js/package-lock.json")"
if [ "$(cat "$dir/js/made-from" 2>/dev/null)" != "$made_from" ]; then
    mkdir -p "$dir/js"
    cp "$here/js/package.json" "$here/js/package-lock.json" "$dir/js/"
    (cd "$dir/js" && npm ci --silent --no-audit --no-fund --ignore-scripts)
    echo "$made_from" >"$dir/js/made-from"
fi
