"""Which of two versions is the newer one, so that hubs are replaced in one direction only."""

from __future__ import annotations

from itertools import pairwise

import pytest

from crosschat import version

ORDER = [
    (1, "0+unknown"), (1, "0.1.0.dev3"), (1, "0.1.0a1"), (1, "0.1.0a2"), (1, "0.1.0b1"), (1, "0.1.0rc1"), (1, "0.1.0"),
    (1, "0.1.0.post1"), (1, "0.1.1"), (1, "0.2"), (1, "0.10"), (1, "1.0rc2"), (1, "1.0"), (2, "0.1.0"), (2, "0.1.1"),
]  # fmt: skip


@pytest.mark.parametrize(("older", "newer"), list(pairwise(ORDER)))
def test_a_later_protocol_or_release_is_newer(older: tuple[int, str], newer: tuple[int, str]) -> None:
    assert version.key(*older) < version.key(*newer)


@pytest.mark.parametrize("same", ["1.0", "1", "1.0.0", "v1.0", " 1.0 ", "1.0+local"])
def test_what_names_the_same_release_is_neither_newer_nor_older(same: str) -> None:
    assert version.key(1, same) == version.key(1, "1.0")


@pytest.mark.parametrize("odd", ["", "unknown", "x1.0", "\x00", "٣", "1" * 5000, "1.0rc" + "9" * 5000])
def test_what_is_no_version_is_never_an_error(odd: str) -> None:
    assert version.key(1, odd) < version.key(2, "0")
    assert version.key(1, "") < version.key(1, "0.0.1")


def test_the_installed_version_is_known_here() -> None:
    assert version.key(1, version.installed()) > version.key(1, version.UNKNOWN)
