"""Chooses mutants and judges what became of them.

`mutants.py gather OUT` adds the outcomes of the last run to OUT/outcomes.tsv.
`mutants.py choose OUT SEED COUNT [missed]`, or with `all` and `K/N`, reads the names of all mutants
and writes to OUT/config.toml which of them are to be tried now.
`mutants.py judge OUT LIST` prints the result; it fails if that is not enough.
"""

import json
import pathlib
import random
import re
import sys

LEAST = 95.0
OUTCOMES = {
    "CaughtMutant": "caught",
    "Timeout": "timeout",
    "MissedMutant": "missed",
    "Unviable": "unviable",
}


def read(path):
    return path.read_text().splitlines() if path.is_file() else []


def outcomes(out):
    return dict(line.split("\t") for line in read(out / "outcomes.tsv"))


def gather(out):
    known = outcomes(out)
    run = out / "mutants.out"
    tried = json.loads((run / "outcomes.json").read_text())["outcomes"] if (run / "outcomes.json").is_file() else []
    for outcome in tried:
        if outcome["scenario"] == "Baseline" or outcome["summary"] not in OUTCOMES:
            continue
        result = OUTCOMES[outcome["summary"]]
        # The limit of the tests themselves, which ends them as a failure; see `.ci/mutants`.
        if result == "caught" and "(exit status: 124)" in (run / outcome["log_path"]).read_text():
            result = "timeout"
        known[outcome["scenario"]["Mutant"]["name"]] = result
    (out / "outcomes.tsv").write_text("".join(f"{name}\t{known[name]}\n" for name in sorted(known)))


def escaped(name):
    """The name as a regular expression of Rust; `re.escape` escapes spaces too."""
    return "".join("\\" + letter if letter in ".+*?()|[]{}^$&~#-" else letter for letter in name)


def choose(out, seed, part, missed):
    names = sorted(line for line in sys.stdin.read().splitlines() if line)
    if seed == "all":
        which, of = map(int, part.split("/"))
        chosen = names[which - 1 :: of]
        print(f"{len(chosen)} of {len(names)} mutants")
    else:
        chosen = sorted(random.Random(int(seed)).sample(names, min(int(part), len(names))))
        print(f"a sample of {len(chosen)} of {len(names)} mutants, seed {seed}")
    (out / "chosen.txt").write_text("".join(f"{name}\n" for name in chosen))
    (out / "all.txt").write_text("".join(f"{name}\n" for name in names))
    known = outcomes(out)
    left = [name for name in chosen if known.get(name) == ("missed" if missed else None)]
    print(f"{len(left)} of them are to be tried")
    patterns = [f"    '''^{escaped(name)}$''',\n" for name in left]
    (out / "config.toml").write_text("examine_re = [\n" + "".join(patterns) + "]\n" if left else "")


def place_free(name):
    """The name of a mutant without line and column, which move with the code."""
    return re.sub(r":\d+:\d+:", ":", name)


def judge(out, listed):
    known = outcomes(out)
    chosen = read(out / "chosen.txt")
    count = {outcome: sum(known.get(name) == outcome for name in chosen) for outcome in OUTCOMES.values()}
    viable = count["caught"] + count["timeout"] + count["missed"]
    share = 100.0 * (viable - count["missed"]) / max(viable, 1)
    untried = sum(name not in known for name in chosen)
    print(
        f"{viable} mutants that compile, {viable - count['missed']} of them noticed ({count['timeout']} by a"
        f" timeout): {share:.1f} %; {count['unviable']} do not compile, {untried} are not tried yet"
    )
    reasons = dict(line.split("\t") for line in read(listed) if line and not line.startswith("#"))
    missed = [name for name in chosen if known.get(name) == "missed"]
    for name in missed:
        print(f"missed: {name}: {reasons.get(place_free(name), 'no reason is given')}")
    unexplained = [name for name in missed if place_free(name) not in reasons]
    exist = {place_free(name) for name in read(out / "all.txt")}
    for name in sorted(set(reasons) - exist):
        print(f"to be taken off {listed}, there is no such mutant: {name}")
    if share < LEAST or unexplained or untried:
        print(f"{len(unexplained)} without a reason in {listed}; at least {LEAST} % are to be noticed")
        sys.exit(1)


command, out, *rest = sys.argv[1:]
out = pathlib.Path(out)
if command == "gather":
    gather(out)
elif command == "choose":
    choose(out, rest[0], rest[1], rest[2:] == ["missed"])
else:
    judge(out, pathlib.Path(rest[0]))
