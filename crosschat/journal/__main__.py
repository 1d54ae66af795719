"""Verbs on a data directory that no hub is using: `python -m crosschat.journal VERB DIR`.

The one that starts it holds the lock; `audit` needs none. Exit status: 0 all is well, 1 something is damaged or the
directory cannot be read, 2 the call is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from crosschat.errors import DataDirectoryError
from crosschat.journal.audit import file_of, read_audit
from crosschat.journal.check import check_log
from crosschat.journal.compact import compact_log
from crosschat.journal.export import Wanted, export_log
from crosschat.journal.files import RealFiles
from crosschat.model import from_iso

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosschat.journal.check import Report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m crosschat.journal", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    check = verbs.add_parser("check", help="read the whole log and report damage; changes nothing")
    check.add_argument("directory", type=Path, help="the data directory")
    check.add_argument("--json", action="store_true", help="one JSON object instead of text")
    export = verbs.add_parser("export", help="everything that readers see, as JSON lines; changes nothing")
    export.add_argument("directory", type=Path, help="the data directory")
    for name, what in (("since", "a time: what is not older"), ("until", "what is not newer"), ("thread", "an id")):
        export.add_argument(f"--{name}", help=what)
    audit = verbs.add_parser("audit", help="read the audit of permissions and check its chain; a hub may run meanwhile")
    audit.add_argument("directory", type=Path, help="the data directory")
    audit.add_argument("--json", action="store_true", help="one JSON object with every line")
    shorten = verbs.add_parser(
        "compact", help="take old threads out of the log; under the lock, which the caller holds"
    )
    shorten.add_argument("directory", type=Path, help="the data directory")
    shorten.add_argument("--before", required=True, help="a time, a week ago or longer")
    options = parser.parse_args(arguments)
    if options.verb == "audit":
        return _audit(options.directory, as_json=options.json)
    try:
        return {"export": _export, "check": _check, "compact": _compact}[options.verb](options)
    except DataDirectoryError as error:
        print(error, file=sys.stderr)
        return 1


def _check(options: argparse.Namespace) -> int:
    report = check_log(options.directory, RealFiles())
    print(json.dumps(attrs.asdict(report)) if options.json else _describe(report))
    return 1 if report.damages or report.torn else 0


def _compact(options: argparse.Namespace) -> int:
    try:
        before_ms = from_iso(options.before)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    done = compact_log(options.directory, RealFiles(), before_ms, time.time_ns() // 1_000_000)
    print(json.dumps(attrs.asdict(done)))
    return 0


def _export(options: argparse.Namespace) -> int:
    wanted = Wanted(since=options.since, until=options.until, thread=options.thread)
    try:
        done = export_log(options.directory, RealFiles(), wanted, print)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    sys.stdout.flush()
    if done.damaged:
        print(f"{done.damaged} places of the log are damaged: what was there is missing here", file=sys.stderr)
    return 1 if done.damaged else 0


def _audit(home: Path, *, as_json: bool) -> int:
    try:
        chain = read_audit(home, RealFiles())
    except OSError as error:
        print(f"{file_of(home)} cannot be read: {error.strerror or error}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(attrs.asdict(chain)))
    else:
        lines = [f"{chain.rows} lines, the last with the hash {chain.last}"]
        lines += [f"line {problem.line}: {problem.reason}" for problem in chain.problems]
        print("\n".join(lines))
    return 1 if chain.problems else 0


def _describe(report: Report) -> str:
    found = [*report.damages, *([report.torn] if report.torn else [])]
    lines = [f"{report.records} records up to seq {report.last_seq}, {report.bytes} bytes"]
    for damage in found:
        last = damage.line_number + damage.lines - 1
        where = f"{damage.line_number}" if damage.lines == 1 else f"{damage.line_number}-{last}"
        lines.append(f"{damage.file}:{where}: {damage.reason}")
    lines.append(f"{len(found)} damaged places" if found else "no damage")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
