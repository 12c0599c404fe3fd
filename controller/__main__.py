"""Wiring only: settings → client → stores → controllers → manager. The one upward import of this package."""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvloop

from controller import builtin, logs
from controller.client import Client, in_cluster
from controller.clock import RealClock
from controller.config import Config, ConfigError, load
from controller.informer import Informer
from controller.manager import Manager, ManagerError
from controller.objects import decode_raw
from controller.recorder import Recorder
from reconcilers import labels
from reconcilers.agents import Agents, DirectTransport, ProxyTransport
from reconcilers.api.backup import BACKUPS, CassandraBackup
from reconcilers.api.datacenter import DATACENTERS, CassandraDataCenter
from reconcilers.api.restore import RESTORES, CassandraRestore
from reconcilers.api.schedule import SCHEDULES, CassandraBackupSchedule
from reconcilers.backup.sightings import Sightings
from reconcilers.backup.wiring import backup_controller
from reconcilers.catalog.said import Said
from reconcilers.catalog.wiring import catalog_controller
from reconcilers.datacenter import wiring as datacenter_wiring
from reconcilers.datacenter.stores import INDEX
from reconcilers.garbage.wiring import garbage_controller
from reconcilers.identity import MasterKey
from reconcilers.operations import Operations
from reconcilers.restore.wiring import restore_controller
from reconcilers.schedule import wiring as schedule_wiring

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from controller.clock import Clock
    from controller.objects import RawObject
    from controller.resource import Resource
    from controller.store import Index


def assemble(config: Config, client: Client, master: MasterKey, transport: DirectTransport | ProxyTransport) -> Manager:
    """Everything the process runs; nothing runs yet."""
    clock: Clock = RealClock()
    manager = Manager(config, client, clock=clock)

    def children(resource: Resource, selector: str, indexes: Mapping[str, Index[RawObject]] | None = None) -> Any:
        return manager.add_informer(
            Informer(client, resource, decode_raw, namespace=config.namespace, label_selector=selector, indexes=indexes)
        )

    def kind(resource: Resource, decode: Any, indexes: Any = None) -> Any:
        return manager.add_informer(Informer(client, resource, decode, namespace=config.namespace, indexes=indexes))

    ours = datacenter_wiring.CHILD_SELECTOR
    informers = datacenter_wiring.Informers(
        datacenters=kind(DATACENTERS, CassandraDataCenter.decode),
        backups=kind(
            BACKUPS,
            CassandraBackup.decode,
            {INDEX: datacenter_wiring.backups_index, schedule_wiring.INDEX: schedule_wiring.index},
        ),
        restores=kind(RESTORES, CassandraRestore.decode),
        statefulsets=children(builtin.STATEFULSETS, ours),
        pods=children(builtin.PODS, ours, {INDEX: datacenter_wiring.children_index}),
        services=children(builtin.SERVICES, ours),
        configmaps=children(builtin.CONFIGMAPS, ours),
        service_accounts=children(builtin.SERVICEACCOUNTS, ours),
        budgets=children(builtin.PDBS, ours),
    )
    schedules = kind(SCHEDULES, CassandraBackupSchedule.decode)
    inspectors = children(builtin.PODS, labels.INSPECTOR)
    recorder = Recorder(client, "cassandra-operator", clock)
    agents = Agents(transport, master)
    operations = Operations(agents, clock)
    options: dict[str, Any] = {"clock": clock, "workers": config.workers, "timeout": config.reconcile_timeout}
    common: dict[str, Any] = {"client": client, "recorder": recorder, **options}
    said, sightings = Said(), Sightings()
    datacenter = datacenter_wiring.datacenter_controller(
        informers=informers, master=master, agents=agents, findings=said.findings, **common
    )
    said.wake = lambda key: datacenter.queue.add(key, reason="catalog")
    manager.add_controller(datacenter)
    manager.add_controller(
        catalog_controller(
            datacenters=informers.datacenters, backups=informers.backups, restores=informers.restores,
            pod_informer=informers.pods, inspectors=inspectors, agents=agents, said=said, sightings=sightings, **common,
        )
    )  # fmt: skip
    manager.add_controller(
        backup_controller(
            backups=informers.backups, datacenters=informers.datacenters, restores=informers.restores,
            pod_informer=informers.pods, inspectors=inspectors, agents=agents, operations=operations, master=master,
            session=uuid.uuid4().hex[:12], garbage_grace=config.garbage_grace,
            sightings=sightings, **common,
        )
    )  # fmt: skip
    manager.add_controller(
        restore_controller(
            restores=informers.restores, backups=informers.backups, datacenters=informers.datacenters,
            statefulsets=informers.statefulsets, config_maps=informers.configmaps, pod_informer=informers.pods,
            inspectors=inspectors, agents=agents, operations=operations, **common,
        )
    )  # fmt: skip
    manager.add_controller(
        garbage_controller(
            config_maps=children(builtin.CONFIGMAPS, labels.GARBAGE), datacenters=informers.datacenters,
            pod_informer=informers.pods, helpers=inspectors, operations=operations, master=master,
            grace=config.garbage_grace, **common,
        )
    )  # fmt: skip
    manager.add_controller(
        schedule_wiring.schedule_controller(
            schedules=schedules, backups=informers.backups, restores=informers.restores, **common
        )
    )
    manager.add_task("events", recorder.run, leader_only=False)
    manager.add_task("operations", operations.run)
    return manager


def read_master_key(config: Config) -> MasterKey:
    if not config.master_key_file:
        raise ConfigError(
            "--master-key-file (CASSANDRA_OPERATOR_MASTER_KEY_FILE) is not set: agents' tokens are derived from it. "
            "See the README for how the key is made."
        )
    try:
        return MasterKey.read(Path(config.master_key_file))
    except (OSError, ValueError) as e:
        raise ConfigError(f"--master-key-file {config.master_key_file}: {e}") from e


async def run(config: Config) -> None:
    master = read_master_key(config)
    client = await Client.connect(config)
    direct = config.agent_access == "direct" or (config.agent_access == "auto" and in_cluster(config))
    transport = DirectTransport(master, config.agent_port) if direct else ProxyTransport(client, config.agent_port)
    log = structlog.get_logger("controller")
    log.info(
        "starting",
        identity=config.identity,
        namespace=config.namespace or "all",
        agents="direct" if direct else "proxy",
    )
    try:
        await assemble(config, client, master, transport).run()
    finally:
        await transport.close()
        await client.close()


def main() -> int:
    try:
        config = load(sys.argv[1:])
        logs.setup(config.log_format, config.log_level)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(config))
    except ConfigError as e:
        print(f"cassandra-operator: {e}", file=sys.stderr)  # noqa: T201  before there is a logger
        return 2
    except ManagerError as e:
        structlog.get_logger("controller").error("ended", error=str(e))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
