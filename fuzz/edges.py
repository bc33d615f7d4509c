#!/usr/bin/env python3
"""Keeps EDGES.tsv: the places that slices of a campaign reached, and when each was first seen.

  edges.py note EDGES TARGET KNOWN BEFORE WORK
      adds a slice, before which BEFORE executions went; its corpus was there after KNOWN. WORK holds its
      program, its log, and the control file of a merge of the corpus
  edges.py late EDGES TARGET ALL
      prints the places that were new in the last quarter of ALL executions
"""

import collections
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SECTION = re.compile(r" __sancov_pcs +\w+ +([0-9a-f]+) [0-9a-f]+ ([0-9a-f]+)")
RELOCATION = re.compile(r"^([0-9a-f]+) +\w+ +\w+_RELATIV\w* +([0-9a-f]+)$")
PC_TABLE = re.compile(r"^INFO: Loaded 1 PC tables .*\[(0x[0-9a-f]+),")
NEW_EDGE = re.compile(r"^\s+NEW_PC: (0x[0-9a-f]+)")
STATUS = re.compile(r"^#(\d+)\s")
CRATE = re.compile(r"/registry/src/[^/]+/(.+?)-\d+\.\d+\.[^/]*/")
COLUMNS = "target\tfirst\tlatest\tedges\tplace"
TOOLS = ["addr2line", "readelf"]
# An address and flags.
ENTRY_BYTES = 16


def told_by(*command, asked=""):
    return subprocess.run(command, input=asked, check=True, capture_output=True, text=True).stdout


def read_table(program):
    """Where the program's table of edges begins, and the address of each edge in it."""
    start, size = (int(number, 16) for number in SECTION.search(told_by("readelf", "-SW", program)).groups())
    addresses = {}
    for line in told_by("readelf", "-rW", program).splitlines():
        if match := RELOCATION.match(line):
            index, rest = divmod(int(match[1], 16) - start, ENTRY_BYTES)
            if rest == 0 and 0 <= index < size // ENTRY_BYTES:
                addresses[index] = int(match[2], 16)
    return start, addresses


def read_control(control, addresses):
    """The addresses that the corpus reaches."""
    lines = [line.split() for line in control.read_text().splitlines()]
    reached = {int(index) for line in lines if line[:1] == ["COV"] for index in line[2:]}
    return [addresses[index] for index in reached]


def read_log(log, start):
    """Executions and address of each edge that the corpus does not reach."""
    base, pending, found = 0, [], []
    for line in log.read_text(errors="replace").splitlines():
        if match := PC_TABLE.match(line):
            base = int(match[1], 16) - start
        elif match := NEW_EDGE.match(line):
            pending.append(int(match[1], 16) - base)
        elif match := STATUS.match(line):
            # The edges of an execution come before its status.
            found += [(int(match[1]), address) for address in pending]
            pending = []
    return found


def own_place(frames):
    """The innermost line of the project's own; else the crate."""
    for frame in frames:
        path, _, line = frame.split(" ")[0].rpartition(":")
        if path.startswith(f"{ROOT}/"):
            return f"{path[len(str(ROOT)) + 1:]}:{line}"
    crates = (match[1] for frame in frames if (match := CRATE.search(frame)))
    return next(crates, "std")


def places(work, known, before):
    """Executions and place of each edge that a slice reached, those of its corpus first."""
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        print(f"the places of this slice are not kept: no {' and no '.join(missing)}", file=sys.stderr)
        return []
    program = work / "program"
    start, addresses = read_table(program)
    reached = [(known, address) for address in read_control(work / "control", addresses)]
    reached += [(before + executions, address) for executions, address in read_log(work / "log", start)]
    asked = "\n".join(hex(address) for _, address in reached)
    told = told_by("addr2line", "-a", "-i", "-e", program, asked=asked)
    blocks = re.split(r"^0x[0-9a-f]+\n", told, flags=re.MULTILINE)[1:]
    return [(at, own_place(block.splitlines())) for (at, _), block in zip(reached, blocks)]


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


def note(edges, target, known, before, work):
    """Adds what a slice reached; it is new where no slice reached as many edges at the place."""
    comments, rows = read_rows(edges)
    seen = collections.Counter()
    for at, place in places(work, known, before):
        seen[place] += 1
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
        case ["note", edges, target, known, before, work]:
            note(pathlib.Path(edges), target, int(known), int(before), pathlib.Path(work))
        case ["late", edges, target, executions]:
            late(pathlib.Path(edges), target, int(executions))
        case _:
            sys.exit(__doc__)
