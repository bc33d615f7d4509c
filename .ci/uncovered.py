"""Judges a coverage report of the core: `uncovered.py REPORT LIST [--write]`.

The list has a line for each line of code that nothing runs: file, the code itself, and the reason,
separated by tabs. Line numbers are left out, so that the list stays true when code moves.
"""

import pathlib
import sys

LEAST = 95.0


def read_report(path):
    """Lines of core/src by file: how often each was run."""
    counts, lines = {}, {}
    for record in pathlib.Path(path).read_text().splitlines():
        key, _, value = record.partition(":")
        if key == "SF":
            parts = pathlib.Path(value).parts
            inside = parts[-1 - parts[::-1].index("core"):] if "core" in parts else parts
            name = "/".join(inside)
            lines = counts.setdefault(name, {}) if name.startswith("core/src/") else {}
        elif key == "DA":
            number, count = value.split(",")[:2]
            lines[int(number)] = lines.get(int(number), 0) + int(count)
    return counts


def main():
    report, listed = sys.argv[1], pathlib.Path(sys.argv[2])
    write = "--write" in sys.argv[3:]
    counts = read_report(report)
    total = sum(len(lines) for lines in counts.values())
    missed = set()
    run = 0
    for name, lines in sorted(counts.items()):
        text = pathlib.Path(name).read_text().splitlines()
        for number, count in sorted(lines.items()):
            if count:
                run += 1
            elif any(letter.isalnum() for letter in text[number - 1]):
                missed.add((name, text[number - 1].strip()))
    reasons = {}
    if listed.exists():
        for line in listed.read_text().splitlines():
            name, code, reason = line.split("\t")
            reasons[name, code] = reason
    if write:
        rows = [f"{name}\t{code}\t{reasons.get((name, code), '?')}" for name, code in sorted(missed)]
        listed.write_text("".join(row + "\n" for row in rows))
        reasons = {key: reasons.get(key, "?") for key in missed}
    unexplained = sorted(key for key in missed if reasons.get(key, "?") == "?")
    stale = sorted(set(reasons) - missed)
    share = 100.0 * run / total
    print(f"core: {run} of {total} lines are run, {share:.2f} %; {len(missed)} different lines are not")
    for name, code in unexplained:
        print(f"not run, and no reason is given in {listed}: {name}: {code}")
    for name, code in stale:
        print(f"to be taken off {listed}, it is run or gone: {name}: {code}")
    if share < LEAST:
        print(f"at least {LEAST} % are wanted")
    if share < LEAST or unexplained:
        sys.exit(1)


main()
