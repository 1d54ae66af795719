"""The repository speaks of itself alone: nothing in it depends on, or tells of, the machine it was written on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BINARY = {".png", ".ico", ".woff2", ".gif", ".jpg", ".webp"}
HERE = Path(__file__).relative_to(ROOT)


def text_files() -> list[Path]:
    """What git tracks or would add, as far as it is text, without this file, which has the patterns."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    names = [Path(name.decode()) for name in listed.split(b"\0") if name]
    return [name for name in names if name.suffix not in BINARY and name != HERE and (ROOT / name).is_file()]


FORBIDDEN = {
    # "see issue 12", "fixes #3", "(#45)"; an upstream one is cited by its address
    "a number of an issue": r"(?i)\bissues?\s+#?\d+|\b(?:fix(?:es|ed)?|closes?|see|pr|bug|gh)\s*[-#]\s*#?\d+|\(#\d+\)",
    "a path of one machine": (
        r"(?<![\w.<$}~])/(?:root|opt)/[a-z.]|/home/(?!me\b|you\b|user\b)[a-z]\w+/|" + re.escape(f"{ROOT}/")
    ),
    "a package registry": (
        r"(?i)--(?:extra-)?index-url|\bindex-url\s*=|\bfind-links\b"
        r"|https?://[\w.-]*(?:registry|artifactory|nexus|pypi-?proxy|jfrog)[\w.-]*"
    ),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name in text_files()
        for number, line in enumerate((ROOT / name).read_text(errors="replace").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a number of an issue", "# works around issue 12"),
        ("a number of an issue", "fixes #3"),
        ("a number of an issue", "Keep the order (#45)"),
        ("a path of one machine", f"read {ROOT}/x first"),
        ("a path of one machine", 'open("/opt/.cache")'),
        ("a package registry", "https://registry.internal.example/simple"),
        ("a package registry", "pip install --index-url x"),
    ],
)
def test_the_patterns_find_what_they_are_for(what: str, line: str) -> None:
    assert re.search(FORBIDDEN[what], line)


@pytest.mark.parametrize("line", ["#333", "#!/bin/sh", "color: #12345", "network/x", "~/work/x", "a framework/y"])
def test_the_patterns_leave_other_lines_alone(line: str) -> None:
    assert not any(re.search(pattern, line) for pattern in FORBIDDEN.values())


def test_the_files_are_found() -> None:
    names = {str(name) for name in text_files()}
    assert {"pyproject.toml", "crosschat/wire.py", "Makefile"} <= names
