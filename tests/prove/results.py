"""The cumulative result file, `docs/proof.json`, and the table of promises made from it, `docs/proof.md`.

A run of `make prove MINUTES=n` adds one entry; nothing is ever taken out by a program. Figures of runs in which
something was violated count as well, and the violation stays visible until a person removes the entry with its cause.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final, NotRequired, TypedDict

import attrs

from tests.prove.outcome import added

if TYPE_CHECKING:
    from pathlib import Path

ROW: Final = "| {} | {} | {} | {} |"
BEGIN: Final = "<!-- proof, written by make prove -->\n"
END: Final = "<!-- end of proof -->\n"


class Run(TypedDict):
    """One `make prove MINUTES=n`. `commit` ends with + if the tree had changes."""

    started: str
    commit: str
    seconds: int
    seed: int
    parts: dict[str, int]  # seconds spent in each
    counts: dict[str, int]
    void: int
    reconnect_p99_ms: int
    violations: list[str]
    not_run: list[str]
    notes: NotRequired[list[str]]  # a person's, such as why what was reported was none


@attrs.frozen
class Promise:
    """`figures`: names of counts, with what to call them and the sum to reach, or in words what is done whole."""

    number: str
    text: str
    figures: tuple[tuple[str, str, int | str], ...]


PROMISES: Final = (
    Promise(
        "P1",
        "What was acknowledged is kept through a killed hub and a power cut",
        (
            ("kills", "kills", 10_000),
            ("simulated power cuts", "of them with unsynced bytes and names lost", 1_000),
            ("image power cuts", "power cuts of a file system image", 2_000),
            ("crash states", "crash states of a recorded write trace", 1_000_000),
        ),
    ),
    Promise(
        "P2",
        "Every reader gets every message meant for it, once and in one order",
        (
            ("deliveries", "deliveries checked", 5_000_000),
            ("cancelled waits", "waits that were cancelled around an arrival", 10_000),
        ),
    ),
    Promise("P3", "A retry is not a second message", (("retried requests", "requests retried", 100_000),)),
    Promise(
        "P4",
        "A task has one winner",
        (
            ("races in one process", "races in one process, through deaths of the hub in it", 100_000),
            ("races", "races between connections to hubs that are killed", 5_000),
        ),
    ),
    Promise(
        "P5",
        "No storage error is swallowed, no sync is retried",
        (
            ("failed calls", "failing calls, each in ten ways", "every call of a run"),
            ("failed syncs", "hubs of which a sync failed", 500),
        ),
    ),
    Promise("P6", "Damage is never hidden", (("damages", "damaged directories", 100_000),)),
    Promise("P7", "One hub for a data directory", (("herd rounds", "times 64 starters at once", 500),)),
    Promise(
        "P8",
        "A restart or upgrade loses nothing, and no caller sees an error",
        (
            ("restarts", "restarts under load", 1_000),
            ("upgrades", "upgrades under load, the lock handed over", 1_000),
        ),
    ),
    Promise(
        "P9",
        "Nothing is left running",
        (
            ("orphans", "bridges whose Claude Code was killed", 1_000),
            ("orphans gone within 5 s", "of them gone within 5 s", 1_000),
        ),
    ),
    Promise(
        "P10",
        "Only a paired page can approve",
        (("matrix uses", "uses of a route or verb with what is no credential", "each with each"),),
    ),
    Promise(
        "P11",
        "What you saw is what runs",
        (("inputs", "made inputs: hashed, shown and printed are the same bytes", 1_000_000),),
    ),
    Promise(
        "P12",
        "Every failure of an approval asks or denies",
        (
            ("approval faults", "approvals with a fault or an end at each step", 10_000),
            ("approval kills", "hubs killed while a page decides", 1_000),
        ),
    ),
    Promise(
        "P13",
        "Web pages cannot use the hub",
        (("door requests", "changed requests to the browser door", 10_000),),
    ),
    Promise(
        "P15",
        "Bad input harms only its sender",
        (("parser inputs", "changed inputs, read as what they say or refused in the one way", 10_000_000),),
    ),
    Promise(
        "P17",
        "A slow reader hurts nobody and catches up completely",
        (("messages caught up with", "messages caught up with", 100_000),),
    ),
)


def load(path: Path) -> list[Run]:
    if not path.exists():
        return []
    runs: list[Run] = json.loads(path.read_text())["runs"]
    return runs


def add(path: Path, run: Run) -> list[Run]:
    """Append a run and write the file; all of its runs."""
    runs = [*load(path), run]
    path.write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    return runs


def total(runs: list[Run]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for run in runs:
        counts = added(counts, Counter(run["counts"]))
    return counts


def violations(runs: list[Run]) -> int:
    return sum(len(run["violations"]) for run in runs)


def table(runs: list[Run]) -> str:
    """The promises with the sums that were reached, in Markdown."""
    counts = total(runs)
    lines = [ROW.format("", "promise", "reached", "goal"), "|---|---|---|---|"]
    for promise in PROMISES:
        for index, (name, words, goal) in enumerate(promise.figures):
            head = (promise.number, promise.text) if index == 0 else ("", "")
            reached = f"{counts[name]:,} {words}"
            lines.append(ROW.format(*head, reached, goal if isinstance(goal, str) else f"{goal:,}"))
    return "\n".join(lines)


def page(runs: list[Run]) -> str:
    """docs/proof.md"""
    minutes = sum(run["seconds"] for run in runs) / 60
    reconnect = max((run["reconnect_p99_ms"] for run in runs), default=0)
    lines = [
        "# What is proved",
        "",
        "Made by `make prove` from `proof.json`, which has every run with its seed, duration and commit. The hubs of",
        "these runs are real processes with raised quotas; crash states, damage, cancelled waits, most races, made",
        "inputs, faults of an approval and inputs of parsers are given to the product's own code in one process. What",
        "each part does is told in `tests/prove/`. A commit that is not in the history is the state of a branch before",
        "it was rebased. All runs shared two cores with other work.",
        "",
        f"{len(runs)} runs, {minutes:.0f} minutes, **{violations(runs)} violations**; "
        f"{sum(run['void'] for run in runs)} rounds were void because they were slower than 200 messages a second.",
        f"After a restart under load 99 of 100 connections were back within {reconnect} ms (the worst run).",
        *_measured(total(runs)),
        "",
        table(runs),
        "",
        "| run | commit | minutes | seed | violations | not run |",
        "|---|---|---|---|---|---|",
    ]
    for run in runs:
        not_run = ", ".join(run["not_run"]) or "–"
        lines.append(
            f"| {run['started']} | {run['commit']} | {run['seconds'] / 60:.0f} | {run['seed']} "
            f"| {len(run['violations'])} | {not_run} |"
        )
    lines += [f"\n{run['started']}: {note}" for run in runs for note in run.get("notes", [])]
    return "\n".join(lines) + "\n"


def _measured(counts: Counter[str]) -> list[str]:
    """What is measured beside the promises."""
    lines = []
    if growth := counts["catch-up growth KiB (most)"]:
        share = counts["others' acks meanwhile, % of before (most)"] / 100
        lines += [
            f"While readers caught up the hub grew by at most {growth / 1024:.1f} MiB, and another agent's acks took",
            f"{share:.1f} times as long as before (medians; the worst round).",
        ]
    if failed := counts["failed syncs"]:
        slowest = counts["ms from a failed sync to the end of the process (most)"]
        within = counts["gone within a second of a failed sync"]
        lines.append(
            f"{within} of {failed} hubs were gone within a second of a failed sync, the last after {slowest} ms."
        )
    return lines


def publish(runs: list[Run], docs: Path, readme: Path) -> None:
    """Write the page, and the table into the README between its two marks."""
    (docs / "proof.md").write_text(page(runs))
    text = readme.read_text()
    before, rest = text.split(BEGIN, 1)
    readme.write_text(f"{before}{BEGIN}{summary(runs)}{END}{rest.split(END, 1)[1]}")


def summary(runs: list[Run]) -> str:
    """What stands between the marks."""
    minutes = sum(run["seconds"] for run in runs) / 60
    commits = list(dict.fromkeys(run["commit"] for run in runs))
    head = f"{minutes:.0f} minutes in {len(runs)} runs, the last on commit {commits[-1] if commits else '–'}"
    return f"\n{head}: {violations(runs)} violations.\n\n{table(runs)}\n"
