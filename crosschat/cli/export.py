"""`crosschat export`: all messages and events as JSON lines or as Markdown, from a running hub or without one.

Both ways give the same lines. A file is written beside its name and takes it when it is whole, so that an export that
was interrupted is not taken for one; it is readable by its owner only, as the messages are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final, Protocol, cast

import click

from crosschat import lock, wire
from crosschat.cli import text
from crosschat.cli.control import Control, NotRunning, new_id
from crosschat.cli.failure import FAILED, NO_HUB, Failure
from crosschat.cli.messages import EVENTS
from crosschat.cli.options import configuration, json_option
from crosschat.cli.times import Time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from crosschat.model import JsonObject
    from crosschat.paths import Home

MARKDOWN: Final = ("md", "markdown")


@click.command()
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "markdown"]), help="Else by the name of the file: .md is Markdown."
)
@click.option("--since", type=Time(), metavar="TIME", help="Not before this time: 2026-05-04, today, 3h, 2d.")
@click.option("--until", type=Time(), metavar="TIME", help="Not after it.")
@click.option("--thread", metavar="ID", help="Only this message, its replies, and what happened to them.")
@click.option("-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), help="Into a new file.")
@json_option
@click.pass_obj
def export(
    home: str | None,
    form: str | None,
    since: str | None,
    until: str | None,
    thread: str | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Write messages and events to a file or to standard output.

    One JSON object a line, or Markdown for reading: everything that is in the log, oldest first, private messages and
    what was cleared from the channel, too. Starts no hub: without one the log is read by itself.

    \b
    Examples:
      crosschat export -o everything.jsonl
      crosschat export --since 2026-05-01 --until 2026-05-31 -o may.md
      crosschat export --thread m17-7070 --format markdown

    Exit status: 0 done, 1 refused, or damage in the log left something out, 2 wrong option or environment, 3 a hub
    runs and does not answer.
    """
    if as_json and form == "markdown" and output is None:
        raise click.UsageError("--json and Markdown exclude each other on standard output")
    chosen = configuration(home).home
    form = form or ("markdown" if (output or "").rpartition(".")[2].lower() in MARKDOWN else "jsonl")
    with _target(output) as file, _source(chosen, since, until, thread) as source:
        documents = _Counting(source)
        for piece in (_markdown if form == "markdown" else _lines)(documents):
            file.write(piece + "\n")
        if thread is not None and documents.count == 0:
            raise Failure(f"there is no message {thread!r} in that time", FAILED)
    if output is not None:
        _report(output, documents.count, source.damaged, as_json=as_json)
    if source.damaged:
        text.echo(f"the log is damaged in {source.damaged} places: what was there is missing", err=True)
        sys.exit(FAILED)


class _Source(Protocol):
    """Documents, oldest first; `damaged` is known when they have ended."""

    damaged: int

    def __iter__(self) -> Iterator[JsonObject]: ...


class _Counting:
    def __init__(self, source: Iterable[JsonObject]) -> None:
        self._source = source
        self.count = 0

    def __iter__(self) -> Iterator[JsonObject]:
        for document in self._source:
            self.count += 1
            yield document


def _report(output: str, count: int, damaged: int, *, as_json: bool) -> None:
    if as_json:
        text.echo_json({"file": os.path.abspath(output), "lines": count, "damaged": damaged})
    else:
        text.echo(text.plain(f"{count} messages and events are in {output}"))


@contextmanager
def _target(output: str | None) -> Iterator[IO[str]]:
    """Where it goes. The file is there when the block ended well, and nothing is when it did not."""
    if output is None:
        yield sys.stdout
        return
    if os.path.lexists(output):
        raise Failure(f"{output} is there already: choose another name, or remove it", FAILED)
    part = f"{output}.part-{os.getpid()}"
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.link(part, output)  # fails if the name was taken meanwhile
        finally:
            os.unlink(part)
    except OSError as error:
        raise Failure(f"{output} cannot be written: {error.strerror or error}", FAILED) from None


@contextmanager
def _source(home: Home, since: str | None, until: str | None, thread: str | None) -> Iterator[_Source]:
    """The hub, if one runs; else the log, under the lock, so that none begins meanwhile."""
    try:
        control = Control.open(home)
    except NotRunning:
        with _locked(home):
            yield _FromLog(home.root, since, until, thread)
    else:
        with control:
            yield _FromHub(control, since, until, thread)


@contextmanager
def _locked(home: Home) -> Iterator[None]:
    if not (home.root / "FORMAT").is_file():
        raise Failure(f"there are no messages in {home.root}: no hub has run with this data directory", FAILED)
    try:
        descriptor = lock.try_hold(home.hub_lock)
    except OSError as error:
        raise Failure(f"{home.hub_lock} cannot be used: {error.strerror or error}", FAILED) from None
    if descriptor is None:
        raise Failure(f"a hub holds {home.hub_lock} and does not listen: look again in a moment", NO_HUB)
    try:
        yield
    finally:
        os.close(descriptor)


class _FromHub:
    """What the hub shows to its readers."""

    def __init__(self, control: Control, since: str | None, until: str | None, thread: str | None) -> None:
        self._control = control
        self._since, self._until, self._thread = since or "", until or "~", thread
        self.damaged = 0

    def __iter__(self) -> Iterator[JsonObject]:
        status = self._control.ask(wire.Inspect(id=new_id()), wire.HubStatus)
        self.damaged = len(status.damage)
        in_thread = {self._thread}
        for batch in self._control.catch_up(wire.Tail(id=new_id(), after_seq=0), status.head):
            for item in batch.items:
                if item.kind == "reply" and item.thread in in_thread:
                    in_thread.add(item.message)
                if item.seq > status.head or not self._since <= item.ts <= self._until:
                    continue
                if self._thread is None or item.message in in_thread:
                    yield document_of(item)


def document_of(item: wire.Item) -> JsonObject:
    """The line of an item: the same as that of its record."""
    document: JsonObject = {
        "seq": item.seq,
        "kind": item.kind,
        "messageId": item.message,
        "timestamp": item.ts,
        "from": item.from_id,
        "fromName": item.from_name,
        "source": item.source,
        "content": item.content,
    }
    if item.kind == "reply" and item.thread is not None:
        document["threadId"] = item.thread
    if item.kind in ("message", "reply"):
        more = {
            "to": None if item.to is None else list(item.to),
            "here": item.here or None,
            "private": item.private or None,
            "importance": item.importance,
            "metadata": item.metadata,
        }
        document |= {name: value for name, value in more.items() if value is not None}
    return document


class _FromLog:
    """`python -m crosschat.journal export`, in a process of its own."""

    def __init__(self, root: Path, since: str | None, until: str | None, thread: str | None) -> None:
        limits = {"--since": since, "--until": until, "--thread": thread}
        options = [f"{name}={value}" for name, value in limits.items() if value is not None]
        self._command = [sys.executable, "-m", "crosschat.journal", "export", os.fspath(root), *options]
        self.damaged = 0

    def __iter__(self) -> Iterator[JsonObject]:
        with subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                for line in process.stdout:
                    yield cast("JsonObject", json.loads(line))
            except BaseException:  # whoever reads this stops
                process.terminate()
                raise
            said = process.stderr.read().decode(errors="replace").strip()
        if process.returncode == FAILED and said.partition(" ")[0].isdigit():
            self.damaged = int(said.partition(" ")[0])
        elif process.returncode:
            raise Failure(said or f"the log cannot be read (status {process.returncode})", FAILED)


def _lines(documents: Iterable[JsonObject]) -> Iterator[str]:
    yield from map(text.to_json, documents)


def _markdown(documents: Iterable[JsonObject]) -> Iterator[str]:
    """For people: a heading for each day, and texts as quotations, which cannot pass for anything of ours."""
    day = ""
    yield "# CrossChat\n\nTimes are UTC."
    for document in documents:
        fields = {name: str(value) for name, value in document.items()}
        if fields["timestamp"][:10] != day:
            day = fields["timestamp"][:10]
            yield f"\n## {day}"
        time, name = fields["timestamp"][11:19], text.plain(fields["fromName"]).replace("*", "\\*")
        if fields["kind"] in ("message", "reply"):
            about = [f"in {fields['threadId']}"] if "threadId" in fields else []
            about += ["private"] if document.get("private") else []
            about += ["@here"] if document.get("here") else []
            about += [fields["source"]] if fields["source"] not in ("agent", fields["from"]) else []
            extra = f" ({', '.join(about)})" if about else ""
            yield f"\n**{name}** {time} `{fields['messageId']}`{extra}\n\n{_quoted(fields['content'])}"
        else:
            did = EVENTS.get(fields["kind"], fields["kind"])
            yield f"\n*{time} {name} {did} `{fields['messageId']}`*"
            if fields["content"]:
                yield f"\n{_quoted(fields['content'])}"


def _quoted(content: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.plain(content, newlines=True).split("\n"))
