"""The commits that go with a result, from real repositories; and what a git that hangs or is missing costs."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from crosschat import wire
from crosschat.bridge import calls, evidence, tools
from crosschat.bridge.evidence import COMMITS_SHOWN, HASH_DIGITS, commits_since, git_environment
from crosschat.errors import Code
from tests.bridge.fakes import Caller, FakeHub, Peer

if TYPE_CHECKING:
    from crosschat.bridge.calls import Session

CLAIMED_S = 1_800_000_000
IDENTITY = {f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@attrs.frozen
class Repository:
    place: Path

    def git(self, *arguments: str, at_s: int = CLAIMED_S) -> str:
        """git with a clock of its own."""
        done = subprocess.run(
            ["git", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false", *arguments],
            cwd=self.place,
            env={**git_environment(os.environ), **IDENTITY, "HOME": os.fspath(self.place),
                 "GIT_COMMITTER_DATE": f"{at_s} +0000", "GIT_AUTHOR_DATE": f"{at_s} +0000"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    def commit(self, subject: str, at_s: int, *arguments: str) -> str:
        self.git("commit", "--allow-empty", "-m", subject, *arguments, at_s=at_s)
        return self.git("rev-parse", "HEAD")[:HASH_DIGITS]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    place = tmp_path / "work"
    place.mkdir()
    repository = Repository(place)
    repository.git("init", "-q")
    return repository


async def found(repository: Repository, since_s: int = CLAIMED_S) -> list[str]:
    with trio.fail_after(10):
        return [commit.digits for commit in await commits_since(repository.place, since_s)]


async def test_commits_since_the_claim_count_and_earlier_ones_do_not(repository: Repository) -> None:
    repository.commit("before", CLAIMED_S - 1)
    first = repository.commit("first", CLAIMED_S)
    second = repository.commit("second\n\nat length", CLAIMED_S + 5)
    assert await found(repository) == [first, second]
    assert (await commits_since(repository.place, CLAIMED_S))[1].subject == "second"
    assert await found(repository, CLAIMED_S + 6) == []


async def test_of_many_the_newest_are_kept(repository: Repository) -> None:
    made = [repository.commit(f"no. {number}", CLAIMED_S + number) for number in range(COMMITS_SHOWN + 3)]
    assert await found(repository) == made[3:]


async def test_what_somebody_else_made_and_was_only_pulled_does_not_count(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit("root", CLAIMED_S - 9)
    repository.git("clone", "-q", os.fspath(repository.place), os.fspath(tmp_path / "other"))
    other = Repository(tmp_path / "other")
    other.commit("theirs", CLAIMED_S + 1)
    repository.git("pull", "-q", "--ff-only", os.fspath(other.place), "main", at_s=CLAIMED_S + 2)
    mine = repository.commit("mine", CLAIMED_S + 3)
    assert await found(repository) == [mine]


async def test_an_amended_commit_counts_as_what_became_of_it(repository: Repository) -> None:
    repository.commit("first try", CLAIMED_S + 1)
    amended = repository.commit("better", CLAIMED_S + 2, "--amend")
    assert await found(repository) == [amended]


async def test_a_commit_on_a_branch_that_was_left_does_not_count(repository: Repository) -> None:
    repository.commit("root", CLAIMED_S - 9)
    repository.git("switch", "-q", "-c", "attempt", at_s=CLAIMED_S)
    repository.commit("attempt", CLAIMED_S + 1)
    repository.git("switch", "-q", "main", at_s=CLAIMED_S + 2)
    assert await found(repository) == []


async def test_without_a_reflog_the_dates_decide(repository: Repository) -> None:
    repository.git("config", "core.logAllRefUpdates", "false")
    repository.commit("before", CLAIMED_S - 1)
    after = repository.commit("after", CLAIMED_S + 1)
    assert await found(repository) == [after]


async def test_variables_that_point_git_elsewhere_are_not_heeded(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = repository.commit("made", CLAIMED_S)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, os.fspath(tmp_path / "nowhere"))
    assert await found(repository) == [made]


async def test_a_repository_starts_no_program_of_its_own(repository: Repository, tmp_path: Path) -> None:
    trap, mark = tmp_path / "trap", tmp_path / "sprung"
    trap.write_text(f"#!/bin/sh\ntouch {mark}\n")
    trap.chmod(0o755)
    signer = tmp_path / "signer"
    said = "echo '\\n[GNUPG:] SIG_CREATED ' >&2\necho '-----BEGIN PGP SIGNATURE-----'"
    signer.write_text(f"#!/bin/sh\ncat >/dev/null\n{said}\n")
    signer.chmod(0o755)
    repository.git("config", "gpg.program", os.fspath(signer))
    made = repository.commit("made", CLAIMED_S, "--gpg-sign=me")
    for key in ("gpg.program", "core.pager", "core.fsmonitor", "core.sshCommand", "diff.external"):
        repository.git("config", key, os.fspath(trap))
    repository.git("config", "log.showSignature", "true")
    assert await found(repository) == [made]
    assert not mark.exists()


@pytest.mark.parametrize("state", ["no repository", "no commit", "no directory"])
async def test_where_there_is_nothing_there_is_no_evidence(repository: Repository, state: str, tmp_path: Path) -> None:
    place = {"no repository": tmp_path, "no commit": repository.place, "no directory": tmp_path / "gone"}[state]
    assert await commits_since(place, 0) == ()


async def test_without_git_there_is_no_evidence(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit("made", CLAIMED_S)
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    assert await commits_since(repository.place, 0) == ()


@pytest.mark.parametrize("script", ["exit 1", "echo; echo 'x\ty\tz'", "printf '\\377\\n%s' broken", "yes"])
async def test_a_git_that_talks_nonsense_is_no_evidence(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_git(tmp_path, script, monkeypatch)
    with trio.fail_after(30):
        assert await commits_since(tmp_path, 0) == ()


def fake_git(place: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "git").write_text(f"#!/bin/sh\n{script}\n")
    (place / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")


# --- with the tool


DONE = wire.TaskView(status="completed", owner="peer", claimed_at="2027-01-15T08:00:00.000Z", result="ok")


def in_directory(session: Session, place: Path) -> None:
    session.link.hello = attrs.evolve(session.link.hello, cwd=os.fspath(place))


async def resolve(session: Session, replies: list[tools.Reply], status: str = "completed") -> None:
    arguments = {"messageId": "m1", "status": status, "result": "ok"}
    replies.append(await tools.answer(session, "resolve_task", arguments, Caller().call()))


async def accept_resolve(peer: Peer) -> wire.ResolveTask:
    frame = await peer.next(wire.ResolveTask)
    await peer.send(wire.Done(id=frame.id, task=DONE))
    return frame


async def test_a_completed_task_gets_a_badge_for_each_commit(
    hub: FakeHub, session: Session, nursery: trio.Nursery, repository: Repository
) -> None:
    in_directory(session, repository.place)
    made = [repository.commit(f"no. {number}", CLAIMED_S + number) for number in range(2)]
    peer = await hub.join()
    replies: list[tools.Reply] = []
    async with trio.open_nursery() as calling:
        calling.start_soon(resolve, session, replies)
        await accept_resolve(peer)
        for number, digits in enumerate(made):
            badge = await peer.next(wire.AddBadge)
            assert (badge.message, badge.badge_type, badge.value) == ("m1", "git-commit", digits)
            assert badge.label == f"no. {number}"
            await peer.send(wire.Done(id=badge.id))
    assert f'"commits":["{made[0]}","{made[1]}"]' in replies[0].text


async def test_a_badge_that_is_refused_leaves_the_result_as_it_is(
    hub: FakeHub, session: Session, repository: Repository
) -> None:
    in_directory(session, repository.place)
    repository.commit("made", CLAIMED_S)
    peer = await hub.join()
    replies: list[tools.Reply] = []
    async with trio.open_nursery() as calling:
        calling.start_soon(resolve, session, replies)
        await accept_resolve(peer)
        badge = await peer.next(wire.AddBadge)
        await peer.send(wire.Error(id=badge.id, code=Code.CONFLICT, message="full"))
    assert not replies[0].failed
    assert "commits" not in replies[0].text


async def test_a_failed_task_has_no_evidence(hub: FakeHub, session: Session, repository: Repository) -> None:
    in_directory(session, repository.place)
    repository.commit("made", CLAIMED_S)
    peer = await hub.join()
    replies: list[tools.Reply] = []
    async with trio.open_nursery() as calling:
        calling.start_soon(resolve, session, replies, "failed")
        await accept_resolve(peer)
    assert "commits" not in replies[0].text
    assert peer.waiting_frames() == 0


async def test_a_git_that_hangs_delays_the_answer_by_a_bounded_time_and_is_ended(
    hub: FakeHub, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "EVIDENCE_S", 0.3)
    fake_git(tmp_path, f"echo $$ > {tmp_path}/pid; trap '' TERM INT; exec sleep 60", monkeypatch)
    in_directory(session, tmp_path)
    peer = await hub.join()
    replies: list[tools.Reply] = []
    with trio.fail_after(10):
        async with trio.open_nursery() as calling:
            calling.start_soon(resolve, session, replies)
            await accept_resolve(peer)
    assert not replies[0].failed
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_environment_of_git_has_nothing_of_the_sessions() -> None:
    given = {"PATH": "/bin", "GIT_DIR": "/x", "CLAUDE_CODE_MESSAGING_TOKEN": "secret", "CROSSCHAT_HOME": "/y"}
    kept = git_environment(given)
    assert kept["PATH"] == "/bin"
    assert not kept.keys() & (given.keys() - {"PATH"})
    assert evidence.GIT[0] == "git"
    assert time.gmtime(CLAIMED_S)[:5] == (2027, 1, 15, 8, 0)
