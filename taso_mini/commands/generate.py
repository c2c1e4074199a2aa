"""`python -m taso_mini generate`: enumerate, prove, test and prune substitutions, and write them as text.

Paper: TASO §2.2, §3 and §4. Up to four operators a side all terms are enumerated. Five are within reach only where one
term of each value is built upon.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from runtime.command_line import Command
from taso_mini.candidates import published_candidates
from taso_mini.canonical import Pair
from taso_mini.commands.cluster import LOCAL, shared
from taso_mini.commands.rule_files import tell
from taso_mini.generation import Funnel, candidates
from taso_mini.profiles import PROFILES
from taso_mini.rule_set import make_rules
from taso_mini.rules_text import show_rules

SHIPPED_SEED = 0
PUBLISHED = "published"
MOST = 5  # operators a side
VARIABLES = 4
FIVE = (
    "five operators a side: with --variables 3 the enumeration takes about 12 CPU-minutes and 5.7 GiB, with more "
    "variables more; --folder DIR keeps what is finished of it. Some 90,000 candidates are then proved and pruned: "
    "expect hours"
)
NAMES = (PUBLISHED, *(profile.name for profile in PROFILES))


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `generate`."""
    parser.add_argument("--out", type=Path, help="file to write (default: standard output)")
    parser.add_argument("--seed", type=int, default=SHIPPED_SEED, help="seed of all values (default: %(default)s)")
    parser.add_argument(
        "--operators",
        type=int,
        default=3,
        help=f"largest number of operators a side in {PUBLISHED}, 1 to {MOST} (default: %(default)s)",
    )
    parser.add_argument(
        "--representatives",
        action="store_true",
        help=f"in {PUBLISHED} build upon one term of each "
        f"value only: what that loses follows from other rules; {MOST} operators need it",
    )
    parser.add_argument(
        "--variables",
        type=int,
        default=VARIABLES,
        help=f"inputs of each shape in {PUBLISHED} (default: %(default)s; the paper has 3)",
    )
    parser.add_argument("--folder", type=Path, help=f"keep finished parts of {PUBLISHED} here, and go on from them")
    parser.add_argument("--workers", type=int, default=0, help=f"share {PUBLISHED} between so many processes")
    parser.add_argument(
        "--profiles",
        help="comma-separated names of what to enumerate (default: all); "
        f"{PUBLISHED} is the paper's operators at once, the others are {', '.join(NAMES[1:])}",
    )
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help=f"let a Dask cluster enumerate {PUBLISHED}: its "
        f"scheduler's address, or `{LOCAL}` for two processes of this machine (extra `cluster`)",
    )
    parser.add_argument("--all", action="store_true", help="also the directions that save nothing and lead nowhere")


def gather(arguments: Namespace, names: Sequence[str]) -> list[Pair]:
    """Return the candidates of the named profiles."""
    pairs: list[Pair] = []
    if PUBLISHED in names:
        with shared(arguments.workers, arguments.cluster) as executor:
            pairs += published_candidates(
                arguments.operators, seed=arguments.seed, variables=arguments.variables,
                representatives=arguments.representatives, executor=executor, folder=arguments.folder, progress=tell,
            )  # fmt: skip
    chosen = [profile for profile in PROFILES if profile.name in names]
    return pairs + candidates(chosen, Funnel(), seed=arguments.seed)


def run(arguments: Namespace) -> int:
    """Run `generate`: rules to `--out`, the funnel to standard error."""
    wanted = arguments.profiles.split(",") if arguments.profiles else list(NAMES)
    _check(arguments, wanted)
    if arguments.operators == MOST and PUBLISHED in wanted:
        print(FIVE, file=sys.stderr)
    started = time.perf_counter()
    pairs = gather(arguments, wanted)
    rules, counts = make_rules(pairs, seed=arguments.seed, everything=arguments.all, progress=tell)
    text = show_rules(rules, header=_header(arguments, wanted))
    if arguments.out is None:
        print(text, end="")
    else:
        arguments.out.write_text(text, encoding="utf-8")
    for step, count in counts.items():
        print(f"{count:8d}  {step}", file=sys.stderr)
    print(f"{time.perf_counter() - started:8.1f}  seconds", file=sys.stderr)
    return 0 if rules else 1


def _check(arguments: Namespace, wanted: Sequence[str]) -> None:
    """Refuse what cannot be done before anything is enumerated.  Raises: ValueError."""
    unknown = sorted(set(wanted) - set(NAMES))
    if unknown:
        raise ValueError(f"--profiles: no profile named {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if not 1 <= arguments.operators <= MOST:
        raise ValueError(f"--operators: expected 1 to {MOST}, got {arguments.operators}")
    if arguments.operators == MOST and not arguments.representatives:
        raise ValueError(f"--operators {MOST} needs --representatives: all terms of {MOST} operators fit no machine")
    if arguments.out is not None and not arguments.out.parent.is_dir():
        raise ValueError(f"--out: no folder {arguments.out.parent} to write to")


def _header(arguments: Namespace, names: Sequence[str]) -> str:
    narrower = ", one term of each value" * arguments.representatives
    narrower += f", {arguments.variables} inputs of each shape" * (arguments.variables != VARIABLES)
    return (
        "Substitutions generated, proved, tested and pruned by `python -m taso_mini generate`; do not edit.\n"
        f"seed {arguments.seed}, operators {arguments.operators}{narrower}, profiles {', '.join(names)}\n"
        f"{'All directions' if arguments.all else 'Directions that save something, or that others build on'}; "
        "those that can save most come first."
    )


GENERATE = Command(
    "generate",
    "enumerate, prove, test and prune substitutions; write them as text",
    "python -m taso_mini generate --out rules.txt",
    add_arguments,
    run,
)
