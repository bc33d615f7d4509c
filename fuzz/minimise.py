#!/usr/bin/env python3
"""Makes the smallest committed corpus that reaches what several corpora reach, within its limits.

  minimise.py CONTROL SEEDS
      CONTROL is the control file of a set cover merge of the corpora: what each of their inputs reaches.
      The inputs that are chosen become the directory SEEDS.
"""

import hashlib
import heapq
import pathlib
import sys
import tomllib

MANIFEST = pathlib.Path(__file__).resolve().parent / "Cargo.toml"
# libFuzzer notes for each edge in which of so many ranges its count was.
RANGES = 8


def read_control(control):
    """The features that each input reaches."""
    lines = control.read_text().splitlines() or ["0"]
    count = int(lines[0])
    inputs = [pathlib.Path(line) for line in lines[2 : 2 + count]]
    reached = {}
    for words in (line.split() for line in lines[2 + count :]):
        if words[:1] == ["FT"]:
            reached[inputs[int(words[1])]] = {int(feature) for feature in words[2:]}
    return reached


def choose(reached, seeds, most_files, most_bytes):
    """Greedily: edges that nothing chosen reaches come before counts of edges, committed inputs before others
    that reach as much, small ones before large ones."""
    edges = {path: {feature // RANGES for feature in features} for path, features in reached.items()}
    sizes = {path: path.stat().st_size for path in reached}
    chosen, edges_done, features_done, room = [], set(), set(), most_bytes

    def rank(path):
        new_edges, new_features = len(edges[path] - edges_done), len(reached[path] - features_done)
        return (-new_edges, -new_features, path.parent != seeds, sizes[path], path.name)

    # What a path adds only ever falls, so a rank that is still the least is the least of all.
    queue = [(rank(path), path) for path in reached]
    heapq.heapify(queue)
    while queue and len(chosen) < most_files:
        _, path = heapq.heappop(queue)
        current = rank(path)
        if current[1] == 0 or sizes[path] > room:
            continue
        if queue and current > queue[0][0]:
            heapq.heappush(queue, (current, path))
            continue
        chosen.append(path)
        room -= sizes[path]
        edges_done |= edges[path]
        features_done |= reached[path]
    return chosen, len(edges_done), len(set().union(*edges.values()))


def replace(seeds, chosen):
    """Makes the chosen inputs the only ones. Their names follow from what they hold."""
    inputs = {hashlib.sha1(data).hexdigest()[:12]: data for data in map(pathlib.Path.read_bytes, chosen)}
    before = {path.name for path in seeds.iterdir()}
    for name in before - inputs.keys():
        (seeds / name).unlink()
    for name in inputs.keys() - before:
        (seeds / name).write_bytes(inputs[name])
    return len(inputs.keys() - before), len(before - inputs.keys())


def main(control, seeds):
    limits = tomllib.loads(MANIFEST.read_text())["package"]["metadata"]["seeds"]
    reached = read_control(control)
    if not any(reached.values()):
        sys.exit(f"{seeds.name}: there are no inputs; fuzz first")
    chosen, kept, edges = choose(reached, seeds, limits["most-files"], limits["most-bytes"])
    size = sum(path.stat().st_size for path in chosen)
    added, removed = replace(seeds, chosen)
    print(f"{seeds.name}: {len(chosen)} inputs, {size} bytes, {kept} of {edges} edges; {added} new, {removed} removed")


if __name__ == "__main__":
    match sys.argv[1:]:
        case [control, seeds]:
            main(pathlib.Path(control), pathlib.Path(seeds))
        case _:
            sys.exit(__doc__)
