"""What a pool and a person's examples are worth: `crayon eval customize` on models, as one page with pictures.

    cargo build --release
    python3 scripts/eval/customize.py run mini --pool models/mini-pool.safetensors --without customer_reviews,commonsense_qa --data DIR
    python3 scripts/eval/customize.py run gemma -m gemma-3-270m.gguf --title "Gemma 3 270M" --pool POOL --joint JOINT --data DIR
    python3 scripts/eval/customize.py page mini -o docs/results/customize.md
    python3 scripts/eval/customize.py page gemma

`run` asks what has not been asked yet and keeps it in `--runs`: a stopped run goes on, and a second run of the same name with other
sizes, seeds or methods adds to the first. Without `--pool` it trains today's pool and the one adapter on all data (`POOL`, `JOINT`).
`--inside`, `--outside`, `--sizes`, `--seeds`, `--questions` and `--methods` bound the time. Where the machine was busy, a small run
called `NAME-times` on an idle one gives the times of the cost table. `page` writes docs/results/customize-NAME.md
and docs/results/customize-NAME.svg from what was run. Users and the pool's data are in customize_tasks.py.
"""

import argparse
import hashlib
import json
import math
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import customize_tasks as tasks
from program import table

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from draw import draw  # noqa: E402

RESULTS = ROOT / "docs/results"
METHODS = {
    "base": "base model",
    "prompt": "examples in the prompt",
    "joint": "one adapter on all of the pool's data",
    "uniform": "uniform average",
    "nearest": "nearest adapter",
    "arrow": "Arrow",
    "lorahub": "LoRAHub",
    "blend": "blend",
    "instant": "`--effort instant`: blend, nearest or prompt behind the gate",
    "fitted": "`--effort fit`",
    "trained": "`--effort train`",
    "auto": "`--effort auto`",
    "oracle": "oracle",
}
POOLLESS = ["base", "prompt", "instant", "trained", "auto", "oracle"]
LADDER = ["instant", "fitted", "trained", "auto"]
# Settings of `pool train`, where no pool is given.
POOL = {"-n": 8, "--rank": 8, "--epochs": 4, "--batch": 16, "--rate": 3e-3, "--validation": 0.05, "--patience": 4}
JOINT = POOL | {"-n": 1, "--rank": 64, "--alpha": 128, "--epochs": 2}
CAP = 120  # training examples of a task
GROUPS = {"inside": tasks.INSIDE, "outside": tasks.OUTSIDE, "validation": tasks.VALIDATION}
KINDS = {"accuracy": "by choice", "written": "in writing"}


def crayon(args, *command):
    command = [str(args.binary), *map(str, command), "-m", str(args.model), "--json"]
    if args.threads:
        command += ["--threads", str(args.threads)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def trained(args, name, settings):
    """The pool of these settings, trained if it is not there."""
    folder = args.runs / f"{args.name}-{name}"
    if not (folder / "pool.safetensors").is_file():
        flags = [part for key, value in settings.items() for part in (key, value)]
        crayon(args, "pool", "train", "--data", args.runs / "pool.jsonl", *flags, "-o", folder)
    return folder


def run(args):
    args.runs.mkdir(parents=True, exist_ok=True)
    own = args.runs / args.name
    known = {group: [name for name in GROUPS[group] if tasks.short(name) not in args.without] for group in GROUPS}
    groups = {group: known[group][: getattr(args, group)] for group in GROUPS if getattr(args, group)}
    for group, names in groups.items():
        tasks.write_users(args.data, names, own / group)
    made = args.recipe
    if args.no_pool:
        args.methods = [method for method in args.methods if method in POOLLESS]
    elif args.pool is None:
        examples = tasks.write_pool(args.data, args.runs / "pool.jsonl", CAP)
        args.pool = trained(args, "pool", POOL)
        args.joint = trained(args, "joint", JOINT) if "joint" in args.methods else None
        made = f"`crayon pool train {' '.join(f'{key} {value}' for key, value in POOL.items())}` on {examples:,} examples"
    label = digest(args.pool, args.joint)
    call = ["eval", "customize", "--methods", ",".join(args.methods), "--label", label]
    if args.pool:
        call += ["--pool", args.pool.resolve()]
    for group in groups:
        call += ["--users", own / group]
    if args.joint:
        call += ["--joint", args.joint]
    for name in ("sizes", "seeds", "questions", "budget", "oracle_examples", "oracle_epochs", "oracle_rate"):
        value = getattr(args, name)
        call += [f"--{name.replace('_', '-')}", ",".join(map(str, value)) if isinstance(value, list) else value]
    pool = crayon(args, "pool", "show", args.pool.resolve()) if args.pool else None
    settings = {
        "title": args.title or args.name,
        "label": label,
        "questions": args.questions,
        "pool": pool and {"adapters": len(pool["adapters"]), "rank": pool["rank"], "made": made},
        "oracle": [args.oracle_examples, args.oracle_epochs, args.oracle_rate],
        "budget": args.budget,
    }
    (own / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    crayon(args, *call, "--cells", own / "cells.jsonl")


def digest(*pools):
    """Tells pools apart among finished cells."""
    found = hashlib.sha256()
    for pool in filter(None, pools):
        for path in sorted(pool.rglob("*.safetensors")) if pool.is_dir() else [pool]:
            found.update(path.read_bytes())
    return found.hexdigest()[:12] if any(pools) else ""


def read(folder):
    """The settings of the last run, and the finished cells that belong to them."""
    result, rows = json.loads((folder / "settings.json").read_text()), {}
    for line in (folder / "cells.jsonl").read_text().splitlines():
        line = json.loads(line)
        row = line["cell"]
        _, _, questions, _, size, seed, *own = line["key"].split(" ")
        if row["method"] == "oracle":
            same = [float(value) for value in own] == result["oracle"]
        elif row["method"] in LADDER:
            same = own == [result["label"], f"{result['budget']:g}"]
        else:
            same = row["method"] in ("base", "prompt") or own == [result["label"]]
        if same and int(questions) == result["questions"]:
            rows[row["group"], row["user"], row["method"], size, seed] = row
    return result | {"rows": list(rows.values())}


# Figures of results.


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def error(values):
    """Standard error of a mean."""
    values = list(values)
    if len(values) < 2:
        return None
    middle = mean(values)
    return math.sqrt(sum((value - middle) ** 2 for value in values) / (len(values) - 1) / len(values))


def grouped(rows, name):
    found = defaultdict(list)
    for row in rows:
        found[row[name]].append(row)
    return found


def of(rows, method, size, group=None):
    own = [row for row in rows if row["method"] == method and row["size"] in (0, size)]
    return [row for row in own if group is None or row["group"] == group]


def by_user(rows, method, size, kind, group=None):
    """What a method reaches with each user, mean over the draws."""
    own = grouped(of(rows, method, size, group), "user")
    return {user: mean(row[kind] for row in cells) for user, cells in own.items()}


def spread(rows, method, size, kind, group):
    """Mean over users and draws, its standard error over users, and that over draws."""
    own = of(rows, method, size, group)
    users = [mean(row[kind] for row in cells) for cells in grouped(own, "user").values()]
    draws = [mean(row[kind] for row in cells) for cells in grouped(own, "seed").values()]
    return mean(users), error(users), error(draws)


def percent(rows, method, size, kind, group):
    if not of(rows, method, size, group):
        return "–"
    value, users, draws = spread(rows, method, size, kind, group)
    errors = [f"{100 * one:.1f}" if one is not None else "–" for one in (users, draws)]
    asked, all = (len({row["user"] for row in found}) for found in (of(rows, method, size, group), of(rows, "base", size, group)))
    return f"{100 * value:.1f} ({', '.join(errors)})" + (f", {asked} users only" if asked < all else "")


def over(rows, method, other, size, kind, group=None):
    """For each user, points of one method over another."""
    a, b = (by_user(rows, name, size, kind, group) for name in (method, other))
    return {user: 100 * (a[user] - b[user]) for user in a if user in b}


def with_error(differences):
    value, users = mean(differences.values()), error(differences.values())
    return f"{value:+.1f} ± {users:.1f}" if users is not None else f"{value:+.1f}"


def right(row, kind):
    return [mark in {"accuracy": "13", "written": "23"}[kind] for mark in row["marks"]]


def error_of_user(rows, user, method, other, size, kind):
    """Standard error over questions of the points of one method over another with one user."""
    marks = []
    for name in (method, other):
        cells = [right(row, kind) for row in of(rows, name, size) if row["user"] == user]
        marks.append([mean(answers) for answers in zip(*cells)])
    return 100 * (error(a - b for a, b in zip(*marks)) or 0)


# The page.


def verdict(holds):
    return "holds" if holds else "missed"


def target_inside(rows, size, kind):
    gain = {method: over(rows, method, "base", size, kind, "inside") for method in ("blend", "oracle")}
    both = set(gain["blend"]) & set(gain["oracle"])
    if not both:
        return "not run"
    gain = {method: {user: found[user] for user in both} for method, found in gain.items()}
    blend, oracle = (mean(gain[method].values()) for method in ("blend", "oracle"))
    if oracle <= 0:
        return f"the oracle gains nothing ({oracle:+.1f}); blend {blend:+.1f}"
    share = 100 * blend / oracle
    short = "" if share >= 95 else f", {95 - share:.0f} short"
    return f"{share:.0f} % ({with_error(gain['blend'])} of {with_error(gain['oracle'])}, {len(both)} users): {verdict(share >= 95)}{short}"


def target_harm(rows, size, kind):
    found = over(rows, "instant", "base", size, kind, "outside")
    if not found:
        return "not run"
    harmed = {user: points for user, points in found.items() if points < -error_of_user(rows, user, "instant", "base", size, kind)}
    named = ", ".join(f"{user} {points:+.1f}" for user, points in harmed.items())
    return f"{len(harmed)} of {len(found)}: {verdict(not harmed)}" + (f" ({named})" if harmed else "")


def at_least(found, wanted):
    if not found:
        return "not run"
    value = mean(found.values())
    holds = value >= wanted and value > 0
    return f"{with_error(found)}: {verdict(holds)}" + ("" if holds else f" by {wanted - value:.1f}")


def target_users(rows, size, kind):
    found = over(rows, "auto", "prompt", size, kind)
    if not found:
        return "not run"
    won, wanted = sum(points > 0 for points in found.values()), math.ceil(2 * len(found) / 3)
    even = sum(points == 0 for points in found.values())
    return f"{won} won, {even} even of {len(found)}: {verdict(won >= wanted)}" + ("" if won >= wanted else f" by {wanted - won}")


def targets(rows, size):
    wanted = [
        ("Inside, the blend has 95 % of the oracle's gain", "accuracy", lambda rows, kind: target_inside(rows, size, kind)),
        ("", "written", lambda rows, kind: target_inside(rows, size, kind)),
        ("Outside, no user loses by the gated blend beyond its error", "accuracy", lambda rows, kind: target_harm(rows, size, kind)),
        ("", "written", lambda rows, kind: target_harm(rows, size, kind)),
        ("Outside, the gated blend gains 3 points", "accuracy", lambda rows, kind: at_least(over(rows, "instant", "base", size, kind, "outside"), 3)),
        ("", "written", lambda rows, kind: at_least(over(rows, "instant", "base", size, kind, "outside"), 3)),
        ("auto beats the prompt with two users of three", "accuracy", lambda rows, kind: target_users(rows, size, kind)),
        ("", "written", lambda rows, kind: target_users(rows, size, kind)),
        ("auto beats the prompt on the mean", "accuracy", lambda rows, kind: at_least(over(rows, "auto", "prompt", size, kind), 0)),
        ("", "written", lambda rows, kind: at_least(over(rows, "auto", "prompt", size, kind), 0)),
        ("auto gains 15 points over the base in writing", "written", lambda rows, kind: at_least(over(rows, "auto", "base", size, kind), 15)),
    ]
    return table(["target", "", "reached"], [[name, KINDS[kind], ask(rows, kind)] for name, kind, ask in wanted])


def accuracy(rows, group, sizes):
    head = ["method", *(f"{KINDS[kind]}, {size} examples" for kind in KINDS for size in sizes)]
    lines = []
    for method, name in METHODS.items():
        cells = [percent(rows, method, size, kind, group) for kind in KINDS for size in sizes]
        if any(cell != "–" for cell in cells):
            lines.append([name, *cells])
    return table(head, lines)


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


def seconds(millis):
    return f"{millis:.0f} ms" if millis < 1000 else f"{millis / 1000:.1f} s"


def size_text(count):
    return f"{count:,} B" if count < 10_000 else f"{count / 1e6:.2f} MB"


def costs(rows, size):
    lines = []
    for method, name in METHODS.items():
        own = of(rows, method, size)
        if own:
            lines.append([
                name,
                seconds(median(row["millis"] for row in own)),
                seconds(median(row["read_millis"] for row in own)),
                size_text(median(row["bytes_up"] for row in own)),
                size_text(median(row["bytes_down"] for row in own)),
            ])
    return table(["method", "making", "reading a question", "up", "down"], lines)


def taken(rows, sizes):
    lines = []
    for method in LADDER:
        for group in ("inside", "outside"):
            for size in sizes:
                counts = Counter(row["chosen"] for row in of(rows, method, size, group))
                if counts:
                    lines.append([method, group, str(size), ", ".join(f"{name} {count}" for name, count in counts.most_common())])
    return table(["effort", "users", "examples", "taken"], lines)


SHOWN = ["base", "prompt", "blend", "instant", "auto", "oracle"]


def users(rows, size):
    lines = []
    for group in ("inside", "outside"):
        for user in map(tasks.short, GROUPS[group]):
            line = [user, group]
            for method in SHOWN:
                values = [by_user(rows, method, size, kind, group).get(user) for kind in KINDS]
                line.append("–" if None in values else "/".join(f"{100 * value:.0f}" for value in values))
            if any(cell != "–" for cell in line[2:]):
                lines.append(line)
    return table(["user", "", *SHOWN], lines)


def picture(result, size, path):
    """Points over the base by choice, inside and outside, with the standard error over users."""
    bars = []
    for method in list(METHODS)[1:]:
        found = [list(over(result["rows"], method, "base", size, "accuracy", group).values()) for group in ("inside", "outside")]
        if any(found):
            values = [mean(values) if values else None for values in found]
            errors = [error(values) if values else None for values in found]
            bars.append({"name": method, "values": values, "errors": errors})
    draw({"bars": {
        "title": f"{result['title']}: right choices over the base model, {size} examples",
        "x": {"name": "difference from the base model, with its standard error over users", "unit": "points"},
        "series": ["users from inside", "users from outside"],
        "rows": bars,
    }}, path)


def ran(result, sizes):
    """What was run, in a sentence."""
    rows = result["rows"]
    counts = [len({row["user"] for row in rows if row["group"] == group}) for group in ("inside", "outside")]
    draws = defaultdict(list)
    for method in METHODS:
        for size in sizes:
            seeds = len({row["seed"] for row in rows if row["method"] == method and row["size"] == size})
            if seeds:
                draws[seeds, size].append(method)
    said = "; ".join(f"{size} examples, {seeds} draw{'s' * (seeds > 1)}: {', '.join(methods)}" for (seeds, size), methods in sorted(draws.items(), reverse=True))
    most, epochs, rate = result["oracle"]
    pool = result["pool"]
    has = f"Pool: {pool['adapters']} adapters of rank {pool['rank']}, {pool['made']}" if pool else "No pool was at hand; the ladder has no blend"
    return (
        f"{counts[0]} users from inside, {counts[1]} from outside, {result['questions']} questions each.\n{said}.\n"
        f"{has}. The oracle learns from at most\n"
        f"{most} examples, {epochs} times, at a rate of {rate}; the ladder has {result['budget']:g} s."
    )


def page(args):
    result, timed = read(args.runs / args.name), args.runs / f"{args.name}-times"
    rows = [row for row in result["rows"] if row["size"] in (0, *args.sizes)]
    result["rows"] = rows
    times = "of a small run on an idle machine, two threads" if timed.is_dir() else "of the run that the other tables are of, beside\nwhatever else the machine did"
    times = f" Times are {times}{f': {args.machine}' if args.machine else ''}."
    timed = read(timed)["rows"] if timed.is_dir() else rows
    sizes = sorted({row["size"] for row in rows if row["size"]})
    size, title = sizes[-1], result["title"]
    picture(result, size, RESULTS / f"customize-{args.name}.svg")
    intro = f"""# Customization in figures: {title}

Printed by `python3 scripts/eval/customize.py`, which calls `crayon eval customize`. A user is a task with
some examples of its train split; questions are from its test split. {len(tasks.POOL)} tasks are in the pools' data. Users from inside have one of them,
with examples that the pool did not read; users from outside have tasks that are in no pool's data. The lists, and how answers without
choices get some, are in `scripts/eval/customize_tasks.py`; they were made by form and name before any pool was trained on them, and
nothing was fitted to questions. Every answer is counted twice: *by choice*, where the likeliest of the choices is right, and
*in writing*, where greedy decoding writes exactly the right text and ends. Choices are shown to no method; the ladder judges by
them where the source has some. The oracle is an adapter trained on the user's train split, beyond the few examples."""
    errors = "Per cent; in brackets the standard error over users and that over draws of the examples. Where a method was asked of fewer\nusers, its mean is over those."
    parts = [
        intro,
        ran(result, sizes),
        f"## Targets, {size} examples\n\nPoints are means over users with their standard error; a user's own error is that over questions.\n\n" + targets(rows, size),
        f"## Users from inside\n\n{errors}\n\n" + accuracy(rows, "inside", sizes),
        "## Users from outside\n\n" + accuracy(rows, "outside", sizes),
        f"![{title}: points over the base](customize-{args.name}.svg)",
        f"## Cost, {size} examples\n\nMedians: from the examples to something that answers; reading one question with what stands before it (what questions\nshare is read once); bytes that leave the device and that come back where the pool is on a server (f32).{times}\n\n" + costs(timed, size),
        "## What was taken\n\n" + taken(rows, sizes),
        f"## Each user, {size} examples\n\nBy choice / in writing.\n\n" + users(rows, size),
    ]
    output = args.output or RESULTS / f"customize-{args.name}.md"
    output.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--runs", type=Path, default=ROOT / "training/runs/customize")
    commands = arguments.add_subparsers(required=True)
    one = commands.add_parser("run", help="ask a model what has not been asked yet")
    one.set_defaults(does=run)
    one.add_argument("name", help="of the run, for files")
    one.add_argument("--title", help="of the model, for the page")
    one.add_argument("-m", "--model", default="mini")
    one.add_argument("--pool", type=Path)
    one.add_argument("--no-pool", action="store_true", help="compare what needs none")
    one.add_argument("--joint", type=Path)
    one.add_argument("--recipe", default="", help="how that pool was made, for the page")
    one.add_argument("--binary", type=Path, default=ROOT / "target/release/crayon")
    one.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    one.add_argument("--threads", type=int)
    one.add_argument("--inside", type=int, default=len(tasks.INSIDE), help="the first users of the list")
    one.add_argument("--outside", type=int, default=len(tasks.OUTSIDE))
    one.add_argument("--without", type=lambda text: text.split(","), default=[], help="users to leave out: inside, those whose tasks this pool has not")
    one.add_argument("--validation", type=int, default=0)
    numbers = lambda text: [int(number) for number in text.split(",")]
    one.add_argument("--sizes", type=numbers, default=[5, 20])
    one.add_argument("--seeds", type=int, default=3)
    one.add_argument("--questions", type=int, default=40)
    one.add_argument("--methods", type=lambda text: text.split(","), default=list(METHODS))
    one.add_argument("--budget", type=float, default=60)
    one.add_argument("--oracle-examples", type=int, default=400)
    one.add_argument("--oracle-epochs", type=int, default=4)
    one.add_argument("--oracle-rate", type=float, default=2e-3)
    other = commands.add_parser("page", help="print the page of what was run")
    other.set_defaults(does=page)
    other.add_argument("name", help="of the run")
    other.add_argument("-o", "--output", type=Path, help="the page [default: docs/results/customize-NAME.md]")
    other.add_argument("--sizes", type=numbers, default=[5, 20], help="numbers of examples that the page shows")
    other.add_argument("--machine", help="what the times are of, for the page")
    args = arguments.parse_args()
    args.does(args)


if __name__ == "__main__":
    main()
