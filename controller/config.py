"""The operator's settings: flags, else ``CASSANDRA_OPERATOR_*``, else the default; read and checked once.

``--lease-namespace`` and ``CASSANDRA_OPERATOR_LEASE_NAMESPACE`` are the same setting, as for every field of Config.
"""

from __future__ import annotations

import argparse
import os
import socket
import uuid
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PREFIX = "CASSANDRA_OPERATOR_"
_POD_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ConfigError(Exception):
    """One sentence: which setting, what is wrong with it."""


def _field(default: Any, text: str, *choices: str) -> Any:
    return field(default=default, metadata={"help": text, "choices": choices})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Durations in seconds. Field metadata is the help text and the allowed values."""

    namespace: str = _field("", "watch this namespace only; empty for all")
    identity: str = _field("", "who this process is in the Lease; default: host name and a random suffix")
    kubeconfig: str = _field("", "kubeconfig file; default: the pod's service account, else $KUBECONFIG")
    context: str = _field("", "context of the kubeconfig; default: its current one")
    leader_elect: bool = _field(default=True, text="lead only while holding the Lease")
    lease_name: str = _field("cassandra-operator", "name of the Lease")
    lease_namespace: str = _field("", "namespace of the Lease; default: the pod's own, else 'default'")
    lease_duration: float = _field(15.0, "others take the Lease when it was not renewed for so long")
    renew_deadline: float = _field(10.0, "stop leading when renewing failed for so long")
    retry_period: float = _field(2.0, "between attempts to get or renew the Lease")
    workers: int = _field(4, "reconciles at once, per kind")
    reconcile_timeout: float = _field(60.0, "one reconcile takes no longer")
    health_address: str = _field("0.0.0.0:8080", "host:port of /healthz, /readyz and /metrics; empty for none")
    grace_seconds: float = _field(25.0, "from SIGTERM until the process has ended")
    master_key_file: str = _field("", "file with the key that the agents' tokens are derived from")
    agent_access: str = _field("auto", "how agents are reached", "auto", "direct", "proxy")
    agent_port: int = _field(4567, "port of the agents' API")
    garbage_grace: int = _field(86_400, "seconds that what no backup needs stays in a bucket, from when it was seen")
    log_format: str = _field("json", "how log lines look", "json", "text")
    log_level: str = _field("info", "least level logged", "debug", "info", "warning", "error")

    @property
    def health_host_port(self) -> tuple[str, int]:
        host, _, port = self.health_address.rpartition(":")
        return host.strip("[]"), int(port)


def load(argv: Sequence[str] = (), env: Mapping[str, str] | None = None) -> Config:
    """Raises ConfigError; ``--help`` and unknown flags end the process as argparse does."""
    env = os.environ if env is None else env
    flags = vars(_parser().parse_args(list(argv)))
    values: dict[str, Any] = {}
    for f in fields(Config):
        given = flags[f.name] if flags[f.name] is not None else env.get(PREFIX + f.name.upper())
        if given is not None:
            values[f.name] = _convert(f.name, given, type(f.default), f.metadata["choices"])
    values["identity"] = (
        values.get("identity") or f"{env.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}"
    )
    values["lease_namespace"] = values.get("lease_namespace") or env.get("POD_NAMESPACE") or _own_namespace()
    config = Config(**values)
    _check(config)
    return config


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="controller", description="Runs Apache Cassandra on Kubernetes.")
    for f in fields(Config):
        text = f.metadata["help"] + (f" ({', '.join(f.metadata['choices'])})" if f.metadata["choices"] else "")
        parser.add_argument(f"--{f.name.replace('_', '-')}", dest=f.name, default=None, help=text, metavar="VALUE")
    return parser


def _setting(name: str) -> str:
    return f"--{name.replace('_', '-')} ({PREFIX}{name.upper()})"


def _convert(name: str, text: str, kind: type, choices: tuple[str, ...]) -> Any:
    try:
        value = _truth(text) if kind is bool else kind(text)
    except ValueError:
        what = {bool: "true or false", int: "a whole number", float: "a number of seconds"}[kind]
        raise ConfigError(f"{_setting(name)} must be {what}, not {text!r}.") from None
    if choices and value not in choices:
        raise ConfigError(f"{_setting(name)} must be one of {', '.join(choices)}, not {text!r}.")
    return value


def _truth(text: str) -> bool:
    low = text.strip().lower()
    if low in ("1", "true", "yes", "on"):
        return True
    if low in ("0", "false", "no", "off"):
        return False
    raise ValueError(text)


def _own_namespace() -> str:
    try:
        return _POD_NAMESPACE_FILE.read_text().strip() or "default"
    except OSError:
        return "default"


def _check(config: Config) -> None:
    for name in ("workers", "reconcile_timeout", "grace_seconds", "retry_period"):
        if not getattr(config, name) > 0:
            raise ConfigError(f"{_setting(name)} must be above 0.")
    if not config.lease_duration > config.renew_deadline > config.retry_period * 1.2:
        raise ConfigError(
            "--lease-duration must be above --renew-deadline, and that above 1.2 times --retry-period, "
            "else two operators could lead at once."
        )
    if config.garbage_grace < 60:
        raise ConfigError(f"{_setting('garbage_grace')} must be 60 or more.")
    if not 0 < config.agent_port < 65536:
        raise ConfigError(f"{_setting('agent_port')} must be a port number.")
    if config.health_address:
        host, colon, port = config.health_address.rpartition(":")
        if not colon or not port.isdigit() or int(port) > 65535 or host.count(":") not in (0, *range(2, 8)):
            raise ConfigError(f"{_setting('health_address')} must be host:port, not {config.health_address!r}.")
    for name in ("master_key_file", "kubeconfig"):
        path = getattr(config, name)
        if path and not Path(path).is_file():
            raise ConfigError(f"{_setting(name)} names no file: {path}.")
