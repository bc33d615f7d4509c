"""Chooses mutants and judges what became of them.

`mutants.py sample SEED COUNT` reads the names of all mutants and writes a configuration that names
a random sample of them. `mutants.py judge OUT LIST` prints the result of a run.
"""

import pathlib
import random
import re
import sys

LEAST = 90.0


def sample(seed, count):
    names = sorted(line for line in sys.stdin.read().splitlines() if line)
    chosen = sorted(random.Random(seed).sample(names, min(count, len(names))))
    print("examine_re = [")
    for name in chosen:
        print("    '''^" + re.escape(name).replace("\\ ", " ") + "$''',")
    print("]")


def names_in(out, what):
    """The outcomes of this run and of those that it went on from."""
    found = set()
    for path in pathlib.Path(out).glob(f"mutants.out*/{what}.txt"):
        found |= set(path.read_text().splitlines())
    return found


def place_free(name):
    """The name of a mutant without line and column, which move with the code."""
    return re.sub(r":\d+:\d+:", ":", name)


def judge(out, listed):
    caught = names_in(out, "caught") | names_in(out, "previously_caught") | names_in(out, "timeout")
    missed = names_in(out, "missed") - caught
    caught -= names_in(out, "unviable")
    viable = len(caught) + len(missed)
    share = 100.0 * len(caught) / max(viable, 1)
    reasons = dict(line.split("\t") for line in pathlib.Path(listed).read_text().splitlines())
    print(f"{viable} mutants that compile, {len(caught)} of them caught: {share:.1f} %")
    for name in sorted(missed):
        print(f"missed: {name}: {reasons.get(place_free(name), 'no reason is given')}")
    unexplained = [name for name in missed if place_free(name) not in reasons]
    if share < LEAST or unexplained:
        print(f"{len(unexplained)} without a reason in {listed}; at least {LEAST} % are to be caught")
        sys.exit(1)


if sys.argv[1] == "sample":
    sample(int(sys.argv[2]), int(sys.argv[3]))
else:
    judge(sys.argv[2], sys.argv[3])
