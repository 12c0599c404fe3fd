from __future__ import annotations

import re

import pytest

from controller.config import ConfigError, load

P = "CASSANDRA_OPERATOR_"


def test_defaults() -> None:
    config = load([], {"POD_NAMESPACE": "ops", "POD_NAME": "operator-0"})
    assert (config.namespace, config.lease_namespace, config.leader_elect, config.agent_port) == ("", "ops", True, 4567)
    assert config.identity.startswith("operator-0_")
    assert config.identity != load([], {"POD_NAME": "operator-0"}).identity
    assert config.health_host_port == ("0.0.0.0", 8080)


def test_flags_come_before_the_environment() -> None:
    env = {f"{P}WORKERS": "7", f"{P}LEADER_ELECT": "off", f"{P}AGENT_ACCESS": "proxy"}
    config = load(["--workers=2"], env)
    assert (config.workers, config.leader_elect, config.agent_access) == (2, False, "proxy")
    assert load(["--health-address=[::1]:9"], {}).health_host_port == ("::1", 9)


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"WORKERS": "many"}, "--workers (CASSANDRA_OPERATOR_WORKERS) must be a whole number, not 'many'."),
        ({"WORKERS": "0"}, "--workers (CASSANDRA_OPERATOR_WORKERS) must be above 0."),
        ({"LEADER_ELECT": "maybe"}, "must be true or false, not 'maybe'."),
        ({"LEASE_DURATION": "x"}, "must be a number of seconds, not 'x'."),
        ({"AGENT_ACCESS": "pigeon"}, "must be one of auto, direct, proxy, not 'pigeon'."),
        ({"AGENT_PORT": "70000"}, "must be a port number."),
        ({"GARBAGE_GRACE": "59"}, "--garbage-grace (CASSANDRA_OPERATOR_GARBAGE_GRACE) must be 60 or more."),
        ({"GARBAGE_GRACE": "1.5"}, "must be a whole number, not '1.5'."),
        ({"RENEW_DEADLINE": "15"}, "two operators could lead at once."),
        ({"HEALTH_ADDRESS": "8080"}, "must be host:port, not '8080'."),
        ({"MASTER_KEY_FILE": "/nowhere"}, "names no file: /nowhere."),
    ],
)
def test_one_sentence_for_what_is_wrong(env: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says) + "$") as e:
        load([], {P + name: value for name, value in env.items()})
    assert "\n" not in str(e.value)
