"""Where this agent finds things; frozen, read from the environment once. Names are those of the pod's layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.errors import AgentError, Reason
from agent.protocol import DEFAULT_PORT

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = "0.1.0"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Settings:
    """Paths are absolute; ``memory_limit`` is Cassandra's in bytes, None where the user set none."""

    pod: str = ""
    namespace: str = ""
    pod_ip: str = "127.0.0.1"
    address: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    jolokia_url: str = "http://127.0.0.1:8778/jolokia"
    data_dirs: tuple[Path, ...] = (Path("/var/lib/cassandra/data"),)
    state_dir: Path = Path("/var/lib/cassandra/.agent")
    credentials_dir: Path = Path("/etc/agent")
    node_file: Path = Path("/etc/node/node.json")
    config_dir: Path = Path("/etc/cassandra")
    plan_dir: Path = Path("/etc/restore-plan")
    jolokia_jar: Path = Path("/app/lib/jolokia.jar")
    encryption_keys: Path | None = None  # a file or a directory, see agent/keys.py
    memory_limit: int | None = None
    least_grace: int = (
        3600  # seconds; a collector with a shorter grace is refused. Less is for tests of a whole cluster
    )
    failure_linger: float = 600.0  # seconds that a failed restore stays readable before init ends

    @property
    def owner(self) -> str:
        """Whose journal it is; empty outside of a pod."""
        return f"{self.namespace}/{self.pod}" if self.pod else ""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Raises ConfigurationInvalid, with the variable's name."""
        pod_ip = env.get("POD_IP") or "127.0.0.1"
        url = env.get("JOLOKIA_URL") or cls.jolokia_url
        if urlsplit(url).hostname not in _LOOPBACK:
            raise AgentError(Reason.CONFIGURATION_INVALID, f"JOLOKIA_URL {url} is not on this host's loopback address")
        data_dirs = tuple(Path(text) for text in env.get("CASSANDRA_DATA_DIRS", "").split(":") if text)
        return cls(
            pod=env.get("POD_NAME", ""),
            namespace=env.get("POD_NAMESPACE", ""),
            pod_ip=pod_ip,
            address=env.get("AGENT_ADDRESS") or pod_ip,
            port=_number(env, "AGENT_PORT") or DEFAULT_PORT,
            jolokia_url=url,
            data_dirs=data_dirs or cls.data_dirs,
            state_dir=_path(env, "AGENT_STATE_DIR", cls.state_dir),
            credentials_dir=_path(env, "AGENT_CREDENTIALS_DIR", cls.credentials_dir),
            node_file=_path(env, "AGENT_NODE_FILE", cls.node_file),
            config_dir=_path(env, "CASSANDRA_CONF", cls.config_dir),
            plan_dir=_path(env, "AGENT_PLAN_DIR", cls.plan_dir),
            jolokia_jar=_path(env, "JOLOKIA_JAR", cls.jolokia_jar),
            encryption_keys=Path(env["AGENT_ENCRYPTION_KEYS"]) if env.get("AGENT_ENCRYPTION_KEYS") else None,
            memory_limit=_number(env, "CASSANDRA_MEMORY_LIMIT"),
            least_grace=_number(env, "AGENT_LEAST_GRACE") or cls.least_grace,
            failure_linger=float(_number(env, "AGENT_FAILURE_LINGER") or cls.failure_linger),
        )


def _path(env: Mapping[str, str], name: str, default: Path) -> Path:
    return Path(env[name]) if env.get(name) else default


def _number(env: Mapping[str, str], name: str) -> int | None:
    text = env.get(name)
    if not text:
        return None
    if not text.isdecimal():
        raise AgentError(Reason.CONFIGURATION_INVALID, f"{name} must be a whole number, not {text!r}")
    return int(text) or None
