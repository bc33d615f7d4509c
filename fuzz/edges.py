#!/usr/bin/env python3
"""Keeps EDGES.tsv: the places where slices of a campaign found edges beyond their corpus.

  edges.py note EDGES TARGET BEFORE PROGRAM LOG   adds a slice's log; BEFORE executions went before it
  edges.py late EDGES TARGET ALL                  those new in the last quarter of ALL executions
"""

import collections
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PC_TABLE = re.compile(r"^INFO: Loaded 1 PC tables .*\[(0x[0-9a-f]+),")
NEW_EDGE = re.compile(r"^\s+NEW_PC: (0x[0-9a-f]+)")
STATUS = re.compile(r"^#(\d+)\s")
CRATE = re.compile(r"/registry/src/[^/]+/(.+?)-\d+\.\d+\.[^/]*/")
COLUMNS = "target\tfirst\tlatest\tedges\tplace"
NO_TOOLS = "?"


def read_log(log):
    """The address of the program's table of edges, and (executions, address) of each new edge."""
    table, pending, found = None, [], []
    for line in log.read_text(errors="replace").splitlines():
        if match := PC_TABLE.match(line):
            table = int(match[1], 16)
        elif match := NEW_EDGE.match(line):
            pending.append(int(match[1], 16))
        elif match := STATUS.match(line):
            # The edges of an execution come before its status.
            found += [(int(match[1]), address) for address in pending]
            pending = []
    return table, found


def load_base(program, table):
    """Where the program was loaded, as its table of edges tells."""
    sections = subprocess.run(["readelf", "-SW", program], check=True, capture_output=True, text=True)
    match = re.search(r" __sancov_pcs +\w+ +([0-9a-f]+)", sections.stdout)
    return table - int(match[1], 16)


def own_place(frames):
    """The innermost line of the project's own; else the crate."""
    for frame in frames:
        path, _, line = frame.split(" ")[0].rpartition(":")
        if path.startswith(f"{ROOT}/"):
            return f"{path[len(str(ROOT)) + 1:]}:{line}"
    crates = (match[1] for frame in frames if (match := CRATE.search(frame)))
    return next(crates, "std")


def places(program, table, addresses):
    """The place of each address."""
    if not addresses:
        return []
    if not (table and shutil.which("addr2line") and shutil.which("readelf")):
        print(f"no addr2line or readelf: {len(addresses)} new edges have no place", file=sys.stderr)
        return [NO_TOOLS] * len(addresses)
    base = load_base(program, table)
    asked = "\n".join(hex(address - base) for address in addresses)
    told = subprocess.run(
        ["addr2line", "-a", "-i", "-e", program], input=asked, check=True, capture_output=True, text=True
    )
    blocks = re.split(r"^0x[0-9a-f]+\n", told.stdout, flags=re.MULTILINE)[1:]
    return [own_place(block.splitlines()) for block in blocks]


def read_rows(edges):
    """The comment lines, and first, latest and edges by target and place."""
    comments, rows = [], {}
    for line in edges.read_text().splitlines() if edges.exists() else []:
        if line.startswith("#"):
            comments.append(line)
        elif line != COLUMNS:
            target, first, latest, count, place = line.split("\t")
            rows[target, place] = (int(first), int(latest), int(count))
    return comments, rows


def note(edges, target, before, program, log):
    """Adds what a slice found; it is new where no slice found as many edges at the place."""
    table, found = read_log(log)
    comments, rows = read_rows(edges)
    seen = collections.Counter()
    where = places(program, table, [address for _, address in found])
    for (executions, _), place in zip(found, where):
        seen[place] += 1
        at = before + executions
        first, latest, count = rows.get((target, place), (at, at, 0))
        if seen[place] > count:
            rows[target, place] = (min(first, at), at, seen[place])
    lines = comments + [COLUMNS]
    for (name, place), (first, latest, count) in sorted(rows.items()):
        lines.append(f"{name}\t{first}\t{latest}\t{count}\t{place}")
    edges.write_text("\n".join(lines) + "\n")


def late(edges, target, executions):
    """Prints the places whose edges were new in the last quarter."""
    _, rows = read_rows(edges)
    since = executions * 3 // 4
    found = [(row, place) for (name, place), row in sorted(rows.items()) if name == target and row[1] > since]
    print(f"{target}: {len(found) or 'no'} places since execution {since}")
    for (first, latest, count), place in found:
        print(f"\tfirst {first}\tlatest {latest}\tedges {count}\t{place}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["note", edges, target, before, program, log]:
            note(pathlib.Path(edges), target, int(before), program, pathlib.Path(log))
        case ["late", edges, target, executions]:
            late(pathlib.Path(edges), target, int(executions))
        case _:
            sys.exit(__doc__)
