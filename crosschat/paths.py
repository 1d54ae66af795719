"""Where things are and what the environment says: the only module that reads `CROSSCHAT_*`.

Owns no file and writes none. Every client derives the same run directory from the same data directory, so that
hub, bridge, hook and command line meet without asking each other.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast, get_args

import attrs

from crosschat.errors import ConfigurationError
from crosschat.model import NAME_PATTERN, RESERVED_NAMES, WakeMode

if TYPE_CHECKING:
    from collections.abc import Mapping

SOCKET_PATH_BYTES: Final = 100  # sun_path has 104 bytes on macOS, 108 on Linux, and a zero at the end


@attrs.frozen
class Home:
    """The data directory; everything in it that another module names."""

    root: Path
    run_override: Path | None = None  # CROSSCHAT_HUB_URL=unix:DIR

    @property
    def hub_lock(self) -> Path:
        return self.root / "hub.lock"

    @property
    def dashboard_lock(self) -> Path:
        return self.root / "dashboard.lock"

    @property
    def settings(self) -> Path:
        return self.root / "settings.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def hooks(self) -> Path:
        """Where a hook lies that settings name by its path, which no change of the plugin may move."""
        return self.root / "hooks"

    @property
    def ask(self) -> Path:
        return self.root / "ask"

    @property
    def run(self) -> Path:
        return self.run_override or run_directory(self.root)

    @property
    def agents_socket(self) -> Path:
        return self.run / "agents.sock"

    @property
    def control_socket(self) -> Path:
        return self.run / "control.sock"

    @property
    def watch(self) -> Path:
        return self.run / "watch"

    @property
    def template_socket(self) -> Path:
        return self.run / "template.sock"


@attrs.frozen(kw_only=True)
class Configuration:
    """The environment, checked. `ignored` names variables that are set but mean nothing here; `home_given`: the data
    directory is one that was named, not the usual one."""

    home: Home
    home_given: bool = False
    name: str | None = None
    cwd: Path | None = None
    dashboard_port: int | None = None
    wake: WakeMode = "auto"
    ignored: tuple[str, ...] = ()


def run_directory(root: Path) -> Path:
    """`ROOT/run`, or where a socket's path there would be too long, a directory of ours under the temporary one.

    The latter is derived from uid and path alone, so all clients agree on it whatever their TMPDIR says; who uses
    it checks owner and mode first.
    """
    run = root / "run"
    if _has_room(run):
        return run
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    return Path("/tmp") / f"crosschat-{os.getuid()}-{name}"


def _has_room(run: Path) -> bool:
    return len(os.fsencode(run / "control.sock")) <= SOCKET_PATH_BYTES


def read_environment(environment: Mapping[str, str] = os.environ) -> Configuration:
    """The configuration. Raises ConfigurationError, which names the variable, for a value that cannot be used.

    An empty variable counts as not set.
    """
    ignored: list[str] = []
    return Configuration(
        home=Home(_home(environment), _hub_url(environment, ignored)),
        home_given=bool(environment.get("CROSSCHAT_HOME")),
        name=_name(environment.get("CROSSCHAT_NAME") or None),
        cwd=_directory("CROSSCHAT_CWD", environment.get("CROSSCHAT_CWD") or None),
        dashboard_port=_port(environment.get("CROSSCHAT_DASHBOARD_PORT") or None),
        wake=_wake(environment.get("CROSSCHAT_WAKE") or "auto"),
        ignored=tuple(ignored),
    )


def _home(environment: Mapping[str, str]) -> Path:
    if chosen := environment.get("CROSSCHAT_HOME"):
        path = Path(chosen)
        if not path.is_absolute() and not chosen.startswith("~"):
            raise ConfigurationError(f"CROSSCHAT_HOME is {chosen!r}: it must be an absolute path")
        try:
            return _real(path.expanduser())
        except RuntimeError:
            raise ConfigurationError(f"CROSSCHAT_HOME is {chosen!r}: there is no such user's directory") from None
    try:
        return _real(Path.home() / ".crosschat")
    except RuntimeError:
        raise ConfigurationError("there is no home directory: set HOME, or CROSSCHAT_HOME to a directory") from None


def _real(path: Path) -> Path:
    """Two spellings of one directory must give one hub: links above the last component are resolved."""
    return Path(os.path.realpath(path.parent)) / path.name


def _hub_url(environment: Mapping[str, str], ignored: list[str]) -> Path | None:
    url = environment.get("CROSSCHAT_HUB_URL")
    if not url:
        return None
    if url.startswith(("http:", "https:", "ws:", "wss:")):  # the npm CrossChat's form: it means another product's hub
        ignored.append("CROSSCHAT_HUB_URL")
        return None
    return run_directory_in(url, "CROSSCHAT_HUB_URL")


def run_directory_in(url: str, name: str) -> Path:
    """The directory in `unix:DIR`, which `name` gave. Raises ConfigurationError."""
    scheme, _, directory = url.partition(":")
    if scheme != "unix" or not Path(directory).is_absolute():
        raise ConfigurationError(f"{name} is {url!r}: write unix:/absolute/run/directory, or leave it out")
    run = Path(directory)
    if not _has_room(run):
        raise ConfigurationError(
            f"{name} is {url[:80]!r}…: it is too long, a socket's path has {SOCKET_PATH_BYTES} bytes"
        )
    return run


def _name(name: str | None) -> str | None:
    if name is None:
        return None
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigurationError(
            f"CROSSCHAT_NAME is {name[:80]!r}: use up to 64 letters, digits, '.', '_' and '-', beginning with one "
            "of the first two"
        )
    if name.lower() in RESERVED_NAMES:
        raise ConfigurationError(f"CROSSCHAT_NAME is {name!r}, which is reserved: choose another name")
    return name


def _directory(variable: str, value: str | None) -> Path | None:
    if value is None:
        return None
    path = Path(value)
    if not path.is_absolute() or not os.path.isdir(path):  # which, unlike Path.is_dir, never raises
        raise ConfigurationError(f"{variable} is {value!r}: it must be the absolute path of a directory that exists")
    return path


def _port(value: str | None) -> int | None:
    if value is None:
        return None
    if not re.fullmatch("[0-9]{1,8}", value) or not 1 <= int(value) <= 65535:
        raise ConfigurationError(f"CROSSCHAT_DASHBOARD_PORT is {value[:20]!r}: it must be a port from 1 to 65535")
    return int(value)


def _wake(value: str) -> WakeMode:
    if value not in get_args(WakeMode):
        raise ConfigurationError(f"CROSSCHAT_WAKE is {value[:20]!r}: use one of {', '.join(get_args(WakeMode))}")
    return cast("WakeMode", value)


def resource(name: str) -> Path | None:
    """A directory that is shipped with the product (`hooks`, `bench`, `dashboard`, `plugin`), or None.

    In a wheel it lies in the package; an editable install does not see those files and uses the checkout's.
    """
    package = Path(__file__).parent
    checkout = package.parent / name
    places = [package / f"_{name}", package / name]
    if (package.parent / "pyproject.toml").is_file():
        places.append(checkout / "dist" if name == "dashboard" else checkout)
    return next((place for place in places if place.is_dir()), None)
