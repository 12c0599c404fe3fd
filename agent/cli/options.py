"""Options that commands share, and what they mean: a location, a node's directories, how hard to work."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agent import catalog, coding, scope
from agent.cli.console import UsageError
from agent.errors import AgentError
from agent.protocol import Endpoint, Location
from backends.registry import OPENERS

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping

    from agent.coding import Codings

_DURATION = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>[smh])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_SIZE = re.compile(r"(?P<count>\d{1,15})(?P<unit>[KMGT]?)(?:i?B)?(?:/s)?\Z", re.IGNORECASE)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
STATE = ".cassandra-agent"  # beside the first data directory


class Place(NamedTuple):
    """A target in its parts: ``root`` is the bucket as a target, ``prefix`` is without slashes at its ends."""

    backup_type: str
    root: str
    prefix: str

    @property
    def target(self) -> str:
        return f"{self.root}/{self.prefix}" if self.prefix else self.root


def add_output(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="the result as one JSON document, no progress")
    group.add_argument("--quiet", action="store_true", help="no progress and no notes")


def add_location(parser: ArgumentParser) -> None:
    """Credentials are the SDKs' own: environment, files, the machine's identity."""
    group = parser.add_argument_group("where the backups are")
    group.add_argument(
        "--target", required=True, metavar="URI", help=f"bucket and prefix: {', '.join(_schemes())}; file:///directory"
    )
    group.add_argument("--endpoint", metavar="URL", help="of a store that is not the cloud's own")
    group.add_argument("--region", help="of an S3 bucket")
    style = group.add_mutually_exclusive_group()
    style.add_argument("--path-style", action="store_true", default=None, help="S3: the bucket is in the path")
    style.add_argument("--virtual-style", action="store_false", dest="path_style", help="S3: the bucket is in the host")
    trust = group.add_mutually_exclusive_group()
    trust.add_argument("--ca-file", metavar="PATH", default="", help="PEM of the authorities that the endpoint's is of")
    trust.add_argument("--insecure-skip-verify", action="store_true", help="accept any certificate")


def add_scope(parser: ArgumentParser, *, node: bool = False) -> None:
    group = parser.add_argument_group("whose")
    group.add_argument("--cluster", help="Cassandra's cluster name")
    group.add_argument("--datacenter")
    if node:
        group.add_argument("--node", help="the node's name in the bucket, by default this host's")


def check_scope(arguments: Namespace) -> None:
    """For commands about one node: UsageError where it is not said whose."""
    for name in ("cluster", "datacenter"):
        if not getattr(arguments, name):
            raise UsageError(f"give --{name}: `list` has the names")


def add_state(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help=f"what is needed to go on after a stop, by default {STATE} beside the first data directory",
    )


def add_data(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("the node's disk")
    group.add_argument(
        "--data-dir", type=Path, action="append", required=True, metavar="DIR",
        help="Cassandra's data directory; once for each there is",
    )  # fmt: skip
    add_state(parser)


def add_transfer(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("how hard to work")
    group.add_argument(
        "--bandwidth", type=_size, default=0, metavar="SIZE", help="bytes a second, as in 50M; no limit by default"
    )
    group.add_argument(
        "--concurrent-transfers", type=_transfers, default=0, metavar="N", help="at once, 1 to 64; adapts by default"
    )


def add_keys(parser: ArgumentParser, *, writes: bool = False) -> None:
    parser.add_argument(
        "--encryption-keys", type=Path, metavar="PATH", default=os.environ.get("AGENT_ENCRYPTION_KEYS") or None,
        help=f"a key's file or a directory of several{', of which the last by name encrypts' if writes else ''}; by"
        " default $AGENT_ENCRYPTION_KEYS, and none where that is not set",
    )  # fmt: skip


def codings(arguments: Namespace) -> Codings:
    path = None if arguments.encryption_keys is None else Path(arguments.encryption_keys)
    return coding.from_files(path, compress=getattr(arguments, "compress", False))


def add_entities(parser: ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--keyspaces", metavar="NAMES", help="only these, separated by commas; all by default")
    group.add_argument("--tables", metavar="NAMES", help="only these, as in ks.table, separated by commas")


def entities(arguments: Namespace) -> list[str]:
    """What is chosen, and what is always with it; empty for everything."""
    text = arguments.keyspaces if arguments.keyspaces is not None else arguments.tables
    names = [name.strip() for name in text.split(",")] if text is not None else []
    wanted = "." if arguments.tables is not None else ""
    if wrong := next((name for name in names if ("." in name) != bool(wanted)), None):
        raise UsageError(f"{wrong!r} is no {'table: write keyspace.table' if wanted else 'keyspace'}")
    try:
        return scope.checked(names)
    except AgentError as error:
        raise UsageError(error.message) from error


def add_dry_run(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing anywhere")


def location(arguments: Namespace) -> Location:
    """UsageError for a target that names nothing."""
    told = Endpoint(
        url=arguments.endpoint, region=arguments.region, path_style=arguments.path_style,
        insecure_skip_verify=arguments.insecure_skip_verify, ca_file=arguments.ca_file,
    )  # fmt: skip
    found = place(arguments.target)
    return Location(backup_type=found.backup_type, target=found.target, endpoint=told)


def place(target: str) -> Place:
    """UsageError for a scheme that no store has, and for one that names no bucket."""
    scheme, separator, rest = target.partition("://")
    if not separator:
        if target.startswith("/"):
            return Place("FILE", target, "")
        raise UsageError(f"the target {target!r} has no scheme: write {', '.join(_schemes())} or file:///directory")
    found = _types().get(scheme)
    if found is None:
        raise UsageError(f"no store has the scheme {scheme}://: there are {', '.join(f'{one}://' for one in _types())}")
    if found == "FILE":
        if not rest.startswith("/"):
            raise UsageError(f"a directory is written with three slashes, as in file:///var/backups, not {target!r}")
        return Place(found, f"file:///{rest.strip('/')}", "")
    host, _, path = rest.partition("/")
    container, _, prefix = path.partition("/")
    if scheme == "https":  # an Azure account, and a container in it
        if not host or not container:
            raise UsageError(f"the target {target!r} names no container")
        return Place(found, f"https://{host}/{container}", prefix.strip("/"))
    if not host:
        raise UsageError(f"the target {target!r} names no bucket")
    return Place(found, f"{scheme}://{host}", path.strip("/"))


def data_dirs(arguments: Namespace, *, exist: bool = True) -> tuple[Path, ...]:
    """Absolute. UsageError for one that is not there, or that we may not read."""
    found = tuple(Path(os.path.abspath(path)) for path in arguments.data_dir)  # noqa: PTH100  links stay links
    if len(set(found)) < len(found):
        raise UsageError("a data directory is given twice")
    for path in found:
        if not path.exists() and not exist:
            continue
        if not path.is_dir():
            raise UsageError(f"the data directory {path} is {'no directory' if path.exists() else 'not there'}")
        if not os.access(path, os.R_OK | os.X_OK):
            raise UsageError(f"the data directory {path} cannot be read by this user: run as Cassandra's")
    return found


def state_dir(arguments: Namespace, env: Mapping[str, str] = os.environ) -> Path:
    """Beside the data, where a snapshot's state belongs; else the user's own."""
    if arguments.state_dir is not None:
        return Path(os.path.abspath(arguments.state_dir))  # noqa: PTH100  as above
    if getattr(arguments, "data_dir", None):
        return Path(os.path.abspath(arguments.data_dir[0])).parent / STATE  # noqa: PTH100  as above
    home = env.get("XDG_STATE_HOME") or Path(env.get("HOME", "/")) / ".local" / "state"
    return Path(home) / "cassandra-agent"


def tag(text: str) -> str:
    """For ``type=``."""
    try:
        return catalog.check_tag(text)
    except AgentError as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _size(text: str) -> int:
    found = _SIZE.match(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write 800K, 50M or 2G")
    return int(found["count"]) << _UNITS[found["unit"].upper()]


def duration(text: str) -> int:
    """Seconds. For ``type=``."""
    found = _DURATION.match(text)
    if not found or not int(found["count"]):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 30s, 90m or 6h")
    return int(found["count"]) * _SECONDS[found["unit"]]


def _transfers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError("it must be 1 to 64")
    return int(text)


def _types() -> dict[str, str]:
    """Scheme -> backup type."""
    return {scheme: name for name, (schemes, _) in OPENERS.items() for scheme in schemes}


def _schemes() -> list[str]:
    """The first of each cloud's, for help."""
    return [f"{schemes[0]}://bucket/prefix" for name, (schemes, _) in OPENERS.items() if name != "FILE"]
