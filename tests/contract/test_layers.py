"""Arrows point one way: who may import whom, seen by walking every import of the package."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "crosschat"
SOURCES: Final = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# Tests whose subject is not there yet would pass for ever.
EXPECTED: Final = ("crosschat.core.handle", "crosschat.journal.format", "crosschat.hub.main", "crosschat.wire")
PURE: Final = (
    "crosschat.core",
    "crosschat.codec",
    "crosschat.wire",
    "crosschat.pagewire",
    "crosschat.model",
    "crosschat.errors",
    "crosschat.lengths",
    "crosschat.limits",
    "crosschat.journal.format",
    "crosschat.journal.fields",
)
IMPURE: Final = ("trio", "os", "socket", "time", "logging", "asyncio", "threading", "subprocess", "random", "select")
DEMO: Final = tuple(name for name in SOURCES if name.startswith("crosschat.cli.demo"))
HTTP: Final = ("hypercorn", "quart", "quart_trio", "h11", "wsproto", "werkzeug")
TERMINAL: Final = ("click", "rich")


def under(module: str, *places: str) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def imports(module: str, path: Path) -> set[str]:
    """All modules that the file imports, at any depth; also those that are only for the type checker."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in SOURCES else node.module)
    return found - {module}


IMPORTS: Final = {module: imports(module, path) for module, path in SOURCES.items()}


def wrong(importers: tuple[str, ...], forbidden: tuple[str, ...], *, but: tuple[str, ...] = ()) -> list[str]:
    """Imports of `forbidden` in modules under `importers` that are not under `but`."""
    return [
        f"{module} imports {imported}"
        for module, all_of_them in IMPORTS.items()
        if under(module, *importers) and not under(module, *but)
        for imported in sorted(all_of_them)
        if under(imported, *forbidden)
    ]


def test_the_walk_sees_the_package() -> None:
    assert set(EXPECTED) <= SOURCES.keys()
    assert under("crosschat.core.state", "crosschat.core")
    assert not under("crosschat.corex", "crosschat.core")
    assert "crosschat.core.identity" in IMPORTS["crosschat.core.handle"]
    assert "crosschat.model" in IMPORTS["crosschat.core.ledger"] | IMPORTS["crosschat.core.state"]


def test_the_rules_are_pure() -> None:
    assert wrong(PURE, IMPURE) == []


def test_the_rules_know_neither_disk_nor_sockets_nor_clients() -> None:
    above = ("crosschat.hub", "crosschat.bridge", "crosschat.cli", "crosschat.websocket", "crosschat.paths",
             "crosschat.processes", "crosschat.lock")  # fmt: skip
    assert wrong(("crosschat.core",), (*above, "crosschat.journal")) == []
    assert (
        wrong(
            ("crosschat.wire", "crosschat.pagewire", "crosschat.codec"), (*above, "crosschat.journal", "crosschat.core")
        )
        == []
    )


def test_values_import_only_values() -> None:
    allowed = {"crosschat.model", "crosschat.errors", "crosschat.limits"}
    for module in allowed:
        ours = {name for name in IMPORTS[module] if under(name, "crosschat")}
        assert ours <= allowed, module


def test_the_journal_knows_records_and_nothing_above_them() -> None:
    above = ("crosschat.core", "crosschat.wire", "crosschat.hub", "crosschat.bridge", "crosschat.cli",
             "crosschat.websocket")  # fmt: skip
    assert wrong(("crosschat.journal",), above) == []


def test_clients_reach_the_hub_only_through_its_doors() -> None:
    assert wrong(("crosschat.bridge", "crosschat.cli"), ("crosschat.hub", "crosschat.core", "crosschat.journal")) == []


def test_the_hub_knows_no_client() -> None:
    assert wrong(("crosschat.hub",), ("crosschat.bridge", "crosschat.cli")) == []


def test_the_bridge_does_not_know_the_command_line() -> None:
    assert wrong(("crosschat.bridge",), ("crosschat.cli",)) == []


def test_shared_modules_know_none_of_their_users() -> None:
    shared = tuple(name for name in SOURCES if name.count(".") == 1 and SOURCES[name].name != "__init__.py")
    users = ("crosschat.core", "crosschat.journal", "crosschat.hub", "crosschat.bridge", "crosschat.cli")
    assert wrong(shared, users, but=("crosschat.__main__",)) == []


def test_only_one_module_knows_each_library() -> None:
    everywhere = ("crosschat",)
    assert wrong(everywhere, ("trio_websocket",), but=("crosschat.websocket",)) == []
    assert wrong(everywhere, HTTP, but=("crosschat.hub.webserver",)) == []
    assert wrong(everywhere, ("psutil",), but=("crosschat.processes", *DEMO)) == []
    assert wrong(everywhere, ("structlog",), but=("crosschat.hub",)) == []
    assert wrong(everywhere, TERMINAL, but=("crosschat.cli",)) == []


def test_mcp_is_known_to_the_bridge_and_to_the_demo_that_drives_it() -> None:
    mcp = ("mcp", "mcp_types", "anyio", "pydantic")
    assert wrong(("crosschat",), mcp, but=("crosschat.bridge", *DEMO)) == []
    hub_side = ("crosschat.bridge.client", "crosschat.bridge.inbox", "crosschat.bridge.waiting",
                "crosschat.bridge.launch", "crosschat.bridge.calls")  # fmt: skip
    assert wrong(hub_side, mcp) == []


def test_what_starts_the_hub_needs_the_standard_library_only() -> None:
    for module in ("crosschat.bridge.launch", "crosschat.lock"):
        foreign = wrong((module,), ("trio", "attrs", "cattrs", "mcp", "anyio", "click", "rich"))
        assert foreign == []


def test_environment_variables_of_ours_are_read_in_one_module() -> None:
    for module, path in SOURCES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) or (isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load)):
                text = ast.unparse(node)
                reads = text.startswith(
                    ("os.environ.get('CROSSCHAT_", "os.environ['CROSSCHAT_", "os.getenv('CROSSCHAT_")
                )
                assert not reads or module == "crosschat.paths", f"{module}:{node.lineno}: {text}"


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_no_exception_is_caught_without_a_name(module: str) -> None:
    for node in ast.walk(ast.parse(SOURCES[module].read_text())):
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{module}:{node.lineno}"
