"""The figures for Prometheus: every family once, in the format's own grammar, and true."""

from __future__ import annotations

import re

import attrs
import pytest

from crosschat import wire
from crosschat.hub.metrics import COUNTERS, prometheus
from tests.cli.test_text import HOSTILE

STATUS = wire.HubStatus(
    id="i", pid=1, version="1.2", protocol=1, home="/h", started_at="", epoch="e", head=12, queued=3, pending=2,
    agents=(
        wire.PeerView(id="a", name="ada", connected=True, status="busy", cwd="/", unread=4),
        wire.PeerView(id="b", name="bob", connected=False, status="away", cwd="/"),
    ),
    readers=(wire.ReaderView(id="a", name="ada", cursor=5, covered=10, lag=2, unsent=77),),
    sync_p50_ms=0.5, sync_p99_ms=2.25, counters={"records": 9, "joins": 1},
)  # fmt: skip
SAMPLE = re.compile(r'(crosschat_[a-z0-9_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (-?[0-9.e+-]+)')


def samples(text: str) -> dict[str, float]:
    """What a scraper reads. Raises for a line that is none of the format."""
    found: dict[str, float] = {}
    family = ""
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert f"# TYPE {family} " in text
            assert text.count(f"# TYPE {family} ") == 1
            continue
        if line.startswith("# TYPE "):
            assert line.split(" ")[2] == family
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        assert match[1] == family
        assert match[1] + (match[2] or "") not in found
        found[match[1] + (match[2] or "")] = float(match[3])
    return found


def test_the_figures_are_those_of_the_status() -> None:
    text = prometheus(STATUS, 1_800_000_000.5)
    assert text.endswith("\n")
    found = samples(text)
    expected = {
        'crosschat_info{version="1.2",protocol="1"}': 1, "crosschat_start_time_seconds": 1_800_000_000.5,
        "crosschat_log_head": 12, "crosschat_writer_queue": 3, "crosschat_permission_requests": 2,
        'crosschat_agents{state="connected"}': 1, 'crosschat_agents{state="away"}': 1,
        'crosschat_unread_messages{agent="ada"}': 4, 'crosschat_reader_lag_records{agent="ada"}': 2,
        'crosschat_reader_unsent_bytes{agent="ada"}': 77, 'crosschat_sync_seconds{quantile="0.5"}': 0.0005,
        'crosschat_sync_seconds{quantile="0.99"}': 0.00225, "crosschat_records_total": 9, "crosschat_joins_total": 1,
        "crosschat_frames_total": 0,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert {f"crosschat_{name}_total" for name in COUNTERS} <= found.keys()


@pytest.mark.parametrize("name", [*(text for text in HOSTILE if "\ud800" not in text), 'a"b', "a\\", "a\nb"])
def test_whatever_a_name_is_the_format_is_kept(name: str) -> None:
    agent = attrs.evolve(STATUS.agents[0], name=name)
    reader = attrs.evolve(STATUS.readers[0], name=name)
    assert samples(prometheus(attrs.evolve(STATUS, agents=(agent,), readers=(reader,)), 0))
