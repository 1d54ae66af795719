"""The hub's figures in Prometheus' text format (version 0.0.4). Pure: from what `crosschat status` shows, and counts.

https://prometheus.io/docs/instrumenting/exposition_formats/ is the format. Names and labels are a promise to whoever
wrote a query; an agent's name is the only text in them that is not ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from crosschat.wire import HubStatus

Sample: TypeAlias = tuple[Mapping[str, str], float]
# What is counted since the start, with what it means. `HubStatus.counters` has the keys.
COUNTERS: Final = {
    "records": "Records committed to the log.",
    "batches": "Syncs of the log.",
    "bytes": "Bytes written to the log.",
    "failed_batches": "Writes to the log that failed.",
    "refused": "Operations that were refused.",
    "joins": "Connections on which an agent joined.",
    "superseded": "Connections of agents that a newer one took over.",
    "frames": "Delivery frames sent to agents.",
    "commands": "Requests on the control door.",
    "defects": "Failures that were not foreseen; the hub's log has them.",
}


def prometheus(status: HubStatus, started_s: float) -> str:
    """All figures, each family once, ending with a line end."""
    lines: list[str] = []

    def family(name: str, kind: str, meaning: str, samples: Iterable[Sample]) -> None:
        lines.append(f"# HELP crosschat_{name} {meaning}")
        lines.append(f"# TYPE crosschat_{name} {kind}")
        lines.extend(f"crosschat_{name}{_labels(labels)} {value:.12g}" for labels, value in samples)

    def gauge(name: str, meaning: str, value: float | None) -> None:
        if value is not None:
            family(name, "gauge", meaning, [({}, value)])

    about = {"version": status.version, "protocol": str(status.protocol)}
    family("info", "gauge", "Version and protocol of the hub.", [(about, 1)])
    gauge("start_time_seconds", "When the hub started, in seconds since 1970.", started_s)
    gauge("resident_memory_bytes", "Resident memory of the hub.", status.rss_bytes)
    gauge("log_head", "Sequence number of the newest record.", status.head)
    gauge("writer_queue", "Operations that wait for the log.", status.queued)
    gauge("open_tasks", "Tasks that are not finished.", status.open_tasks)
    gauge("permission_requests", "Permission requests that wait for the person.", status.pending)
    gauge("pages", "Open pages.", status.pages)
    gauge("search_behind", "Records that a search does not see yet.", status.search_behind)
    gauge("damaged_places", "Damaged places of the log.", len(status.damage))
    connected = sum(agent.connected for agent in status.agents)
    agents = [({"state": "connected"}, connected), ({"state": "away"}, len(status.agents) - connected)]
    family("agents", "gauge", "Agents that came since the hub started.", agents)
    unread = [({"agent": agent.name}, agent.unread) for agent in status.agents]
    family("unread_messages", "gauge", "Messages that an agent was not shown yet.", unread)
    lag = [({"agent": reader.name}, reader.lag) for reader in status.readers]
    family("reader_lag_records", "gauge", "Records that were not looked at for a connected agent yet.", lag)
    unsent = [({"agent": reader.name}, reader.unsent) for reader in status.readers]
    family("reader_unsent_bytes", "gauge", "Bytes that wait to leave to a connected agent.", unsent)
    quantiles = (("0.5", status.sync_p50_ms), ("0.99", status.sync_p99_ms))
    syncs = [({"quantile": part}, took_ms / 1000) for part, took_ms in quantiles if took_ms is not None]
    family("sync_seconds", "gauge", "How long the last writes of the log took, with their sync.", syncs)
    for name, meaning in COUNTERS.items():
        family(f"{name}_total", "counter", meaning, [({}, status.counters.get(name, 0))])
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
