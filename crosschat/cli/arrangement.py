"""What `crosschat install` puts in place, in one of two forms, and how it is brought there and taken away.

The plugin form is one folder below ~/.claude/skills. The settings form, for a client that loads no plugin from there,
is the text of `/crosschat` in that folder, and entries in the settings of the user (see `registration`). In both, the
scripts of the hooks lie also in the data directory, where settings can name them whatever becomes of the plugin.

The list in the folder is written before anything outside our own folders is touched, and says all that is ours. So an
attempt that was cut short anywhere is completed by the next, or taken away by `crosschat uninstall`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import attrs

from crosschat.cli import earlier, placement, registration
from crosschat.cli.earlier import ClientFiles, Found
from crosschat.cli.failure import FAILED, Failure
from crosschat.cli.placement import Step
from crosschat.cli.plugin import REGISTERED, SKILL, File, Program, plugin_files, skill_without_plugin, stable_files
from crosschat.cli.record import Entry, Placed, Record
from crosschat.cli.registration import Change
from crosschat.paths import Home

if TYPE_CHECKING:
    from crosschat.cli.earlier import Findings

Form = Literal["plugin", "settings"]
HUB_URL: Final = "CROSSCHAT_HUB_URL"
MANIFEST: Final = ".claude-plugin/plugin.json"


def form_of(placed: Placed) -> Form:
    return "plugin" if MANIFEST in placed.files else "settings"


@attrs.frozen(kw_only=True)
class Arrangement:
    """`settings` and `server`: entries of the settings form."""

    form: Form
    client: ClientFiles
    program: Program
    version: str
    folder: tuple[File, ...]
    hooks: tuple[File, ...]
    settings: tuple[Entry, ...] = ()
    server: Entry | None = None

    @property
    def stable(self) -> Path:
        return self.program.home.hooks


def arrange(form: Form, client: ClientFiles, program: Program, version: str) -> Arrangement:
    """Raises Failure where a file of it cannot be made."""
    files = plugin_files(program, version)
    whole = Arrangement(
        form=form, client=client, program=program, version=version, folder=files, hooks=stable_files(program, version)
    )
    if form == "plugin":
        return whole
    by_path = {file.path: file for file in files}
    skill = attrs.evolve(by_path[SKILL], content=skill_without_plugin(by_path[SKILL].content, registration.TOOL_PREFIX))
    hooks = json.loads(by_path[REGISTERED].content)
    return attrs.evolve(
        whole,
        folder=(skill,),
        settings=registration.settings_entries(client.settings, hooks, whole.stable),
        server=registration.server_entry(client.state, program.python, program.arguments, program.environment),
    )


@attrs.frozen(kw_only=True)
class Plan:
    """What there is to do; nothing is changed yet. `record`: what of it is to be written down."""

    whole: Arrangement
    placed: Placed | None
    folder: list[Step]
    hooks: list[Step]
    changes: list[Change]
    record: Record
    replaced: tuple[Found, ...]

    @property
    def wanted(self) -> Placed:
        program = self.whole.program
        return Placed(
            version=self.whole.version, home=str(program.home.root), hub_url=program.environment.get(HUB_URL),
            files={}, record=self.record,
        )  # fmt: skip

    @property
    def adds_server(self) -> bool:
        return any(self.whole.server in change.new for change in self.changes)

    @property
    def state(self) -> Literal["installed", "updated", "already installed"]:
        if self.placed is None:
            return "installed"
        steps = any(step.action != "nothing to do" for step in (*self.folder, *self.hooks))
        entries = any(change.new or change.gone for change in self.changes)
        known = attrs.evolve(self.placed, files={}, made=())
        return "updated" if steps or entries or known != self.wanted else "already installed"


def plan(whole: Arrangement, findings: Findings, *, replacing: bool) -> Plan:
    """Raises Failure if it cannot be brought in place: a file of the user's that is not strict JSON, another server of
    our name, a folder that is somebody else's."""
    placed = placement.placed_in(whole.client.plugin)
    record = placed.record if placed is not None else Record()
    changes = []
    server = () if whole.server is None else (whole.server,)
    for path, wanted in ((whole.client.settings, whole.settings), (whole.client.state, server)):
        foreign = findings.members(path) if replacing else []
        if wanted or foreign or any(entry.file == str(path) for entry in record.entries):
            by_client = wanted == server  # it locks its state while it writes, which we cannot
            change = registration.plan(findings.file(path), wanted, record, without=foreign, by_client=by_client)
            record = registration.recorded(change, wanted, record)
            changes.append(change)
    return Plan(
        whole=whole,
        placed=placed,
        folder=placement.plan(whole.client.plugin, whole.folder, placed),
        hooks=placement.plan(whole.stable, whole.hooks, placement.placed_in(whole.stable, shared=True)),
        changes=changes,
        record=record,
        replaced=findings.found if replacing else (),
    )


def carry_out(plan: Plan, program: str | None) -> list[Path]:
    """Do it; the client's `program` does what is the client's. Returns the copies that were kept. Raises Failure,
    OSError."""
    whole = plan.whole
    if plan.adds_server and program is None:
        raise Failure("no `claude` is on the PATH, and it is what adds the server to its settings", FAILED)
    before = plan.placed.record if plan.placed is not None else Record()
    meanwhile = attrs.evolve(plan.wanted, record=before.and_also(plan.record))
    kept = placement.place(whole.client.plugin, whole.folder, meanwhile)
    kept += placement.place(whole.stable, whole.hooks, attrs.evolve(plan.wanted, record=Record()), shared=True)
    if plan.placed is not None and plan.placed.home != str(whole.program.home.root):
        remove_stable(Home(Path(plan.placed.home)))
    for change in plan.changes:
        kept += registration.carry_out(change)
    kept += earlier.set_aside(plan.replaced)
    if plan.adds_server and program is not None and whole.server is not None:
        registration.add_server(program, whole.server)
    placement.place(whole.client.plugin, whole.folder, plan.wanted)
    return kept


@attrs.frozen
class Removed:
    """`left`: files that were not ours, or changed. `problems`: what could not be taken out of settings, and why."""

    left: list[Path]
    kept: list[Path]
    problems: list[str]


def take_away(folder: Path, placed: Placed | None, home: Home) -> Removed:
    """Take away what was placed, and the scripts in the data directory. What could not be taken out of the settings
    stays on the list, for the next attempt. Raises Failure, OSError."""
    if placed is None:
        return Removed(remove_stable(home), [], [])
    kept, problems = registration.take_away(placed.record)
    left = [path for one in {Path(placed.home), home.root} for path in remove_stable(Home(one))]
    return Removed([*(placement.remove(folder, placed) if not problems else [folder]), *left], kept, problems)


def remove_stable(home: Home) -> list[Path]:
    """Take the scripts of the hooks out of a data directory; what is left of its folder. Raises Failure, OSError."""
    folder = home.hooks
    placed = placement.placed_in(folder, shared=True)
    return placement.remove(folder, placed) if placed is not None and placed.files else []
