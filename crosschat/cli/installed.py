"""What `crosschat install` says it did, or would do: for people, and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.cli import text
from crosschat.cli.arrangement import Plan
from crosschat.cli.claude_code import TESTED_VERSION, Client
from crosschat.cli.earlier import Findings
from crosschat.cli.plugin import TOOL_PREFIX
from crosschat.cli.registration import TOOL_PREFIX as SETTINGS_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crosschat.cli.placement import Step

CACHES: Final = ("/.cache/", "/Caches/", "/uv/archive-v", "/pipx/.cache/")


def echo_kept(kept: Iterable[Path]) -> None:
    for path in kept:
        text.echo(f"kept    {text.plain(str(path))}")


@attrs.frozen
class Shown:
    plan: Plan
    findings: Findings
    client: Client
    kept: list[Path]
    dry_run: bool = attrs.field(kw_only=True)

    @property
    def entries(self) -> list[tuple[str, str]]:
        """Where in files of the user's, and what happens there."""
        gone = [(entry.where, "remove") for change in self.plan.changes for entry in change.gone]
        return gone + [(entry.where, "add") for change in self.plan.changes for entry in change.new]

    def as_json(self) -> dict[str, object]:
        whole, program = self.plan.whole, self.plan.whole.program
        return {
            "state": self.plan.state, "form": whole.form, "dryRun": self.dry_run, "version": whole.version,
            "folder": str(whole.client.plugin), "files": _files(self.plan.folder),
            "hooks": {"folder": str(whole.stable), "files": _files(self.plan.hooks)},
            "entries": [{"where": where, "action": action} for where, action in self.entries],
            "command": [program.python, *program.arguments], "environment": program.environment,
            "kept": [str(path) for path in self.kept],
            "earlier": [{"what": one.what, "where": one.where} for one in self.findings.found],
            "replaced": bool(self.plan.replaced) and not self.dry_run,
            "problems": [problem.message for problem in self.findings.unread.values()],
            "client": {"version": self.client.version, "loads": LOADS.get(self.client.loads)},
        }  # fmt: skip

    def echo(self) -> None:
        if self.dry_run:
            self._echo_plan()
        else:
            self._echo_done()
            echo_kept(self.kept)
        self._echo_findings()
        if not self.dry_run:
            self._echo_client()

    def _echo_plan(self) -> None:
        whole = self.plan.whole
        if self.plan.state == "already installed":
            text.echo(text.styled("already installed", bold=True), "; nothing would be done")
        for name, folder, steps in (
            ("folder", whole.client.plugin, self.plan.folder),
            ("hooks", whole.stable, self.plan.hooks),
        ):
            text.echo(f"{name:<7} {text.plain(str(folder))}")
            text.print_table(
                ("file", "action", "sha256"), [(step.path, step.action, step.sha256 or "") for step in steps]
            )
        if self.entries:
            text.echo("entries")
            text.print_table(("where", "action"), self.entries)

    def _echo_done(self) -> None:
        whole, program = self.plan.whole, self.plan.whole.program
        text.echo(text.styled(self.plan.state, bold=True), f", version {text.plain(whole.version)}")
        text.echo(f"folder  {text.plain(str(whole.client.plugin))}")
        text.echo(f"hooks   {text.plain(str(whole.stable))}")
        for name in dict.fromkeys(entry.file for entry in self.plan.record.entries):
            text.echo(f"entries {text.plain(name)}")
        text.echo(f"starts  {text.plain(' '.join([program.python, *program.arguments]))}")
        if any(cache in program.python for cache in CACHES):
            text.echo(
                text.styled("warning", fg="yellow"),
                " that is a temporary environment; `pipx install` or `uv tool install` makes a lasting one",
            )
        prefix = TOOL_PREFIX if whole.form == "plugin" else SETTINGS_PREFIX
        text.echo(f"allows  its own ten tools without a prompt ({prefix}…), and nothing else")

    def _echo_findings(self) -> None:
        replaced = bool(self.plan.replaced) and not self.dry_run
        for one in self.findings.found:
            text.echo(f"{'replaced' if replaced else 'found   '} {text.plain(one.what)}: {text.plain(one.where)}")
        if self.findings.found and not self.plan.replaced:
            text.echo("         it is left as it is; `crosschat install --replace-npm` replaces exactly that")
        for problem in self.findings.unread.values():
            text.echo(text.styled("problem ", fg="yellow"), f" {text.plain(problem.message)}")

    def _echo_client(self) -> None:
        client = self.client
        name = f"Claude Code {client.version}" if client.version else "Claude Code"
        if self.plan.whole.form == "settings":
            text.echo(f"client  {name} has it in its settings; a newer one gets the plugin by `crosschat install`")
        elif client.loads == "yes":
            text.echo(f"client  {name} loads the plugin")
        elif client.loads == "no":
            text.echo(
                text.styled("problem", fg="yellow"),
                f" {name} does not load it: it is switched off there, or by a policy. Switch it on in /plugin, or"
                " register in the settings: `crosschat install --settings`",
            )
        elif client.program is None:
            text.echo(f"client  no `claude` is on the PATH; the plugin is known to work with version {TESTED_VERSION}")
        else:
            text.echo(f"client  {name} does not say whether it loads the plugin; version {TESTED_VERSION} does")
        if self.plan.state != "already installed" or self.plan.replaced:
            reload = (
                "type /reload-plugins in each, or restart it" if self.plan.whole.form == "plugin" else "restart each"
            )
            text.echo(f"Sessions that are open: {reload}. Then /crosschat joins it.")
            text.echo(
                "The page, where you answer what sessions ask: `crosschat dashboard` opens it and pairs your browser."
            )


LOADS: Final = {"yes": True, "no": False, "too old": False, "not known": None}


def _files(steps: Iterable[Step]) -> list[dict[str, str | None]]:
    return [{"path": step.path, "action": step.action, "sha256": step.sha256} for step in steps]
