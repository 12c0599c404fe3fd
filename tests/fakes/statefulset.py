"""StatefulSets and kubelets, as far as a reconciler can tell: pods appear in order, and become ready when they may.

Built on the engine's own informers, for the ring with a real API server, which runs neither. It knows OrderedReady and
OnDelete, claims, revisions, and the status of all of those.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from controller import builtin, desired
from controller.clock import RealClock
from controller.controller import Controller
from controller.errors import AlreadyExists, Conflict, NotFound
from controller.informer import Informer
from controller.objects import RawObject, decode_raw, key_of
from controller.reconcile import Done
from controller.resource import Key
from controller.triggers import to_owner, to_self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from controller.client import Client

Object = dict[str, Any]
_REVISION = "controller-revision-hash"


class FakeStatefulSets:
    """``held`` names pods that do not become ready; ``release`` lets them. ``waiting`` gives a pod a failing container:
    pod -> {"reason": ..., "message": ...}."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.held: set[str] = set()
        self.waiting: dict[str, Object] = {}
        self._client = client
        self._sets = Informer(client, builtin.STATEFULSETS, decode_raw, namespace=namespace)
        self._pods = Informer(client, builtin.PODS, decode_raw, namespace=namespace)
        self._addresses = iter(range(2, 255))
        self._controller = (
            Controller("fake-statefulsets", self, clock=RealClock(), workers=1)
            .watches(self._sets, to_self())
            .watches(self._pods, to_owner("StatefulSet"))
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeStatefulSets]:
        tasks = [asyncio.create_task(part.run()) for part in (self._sets, self._pods, self._controller)]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def hold(self, *pods: str) -> None:
        self.held.update(pods)

    def release(self, *pods: str) -> None:
        self.held.difference_update(pods)
        for sts in self._sets.store.all():
            self._controller.queue.add(Key(sts.metadata.namespace, sts.metadata.name))

    async def reconcile(self, key: Key) -> Done:
        sts = self._sets.store.get(key)
        if sts is None:
            await self._collect(key)
            return Done()
        revision = f"{key.name}-{desired.digest(sts.body['spec']['template'])[:10]}"
        pods = self._own(sts)
        for number in range(sts.body["spec"]["replicas"]):
            name = f"{key.name}-{number}"
            pod = pods.get(name)
            if pod is None:
                await self._create(sts, name, revision)
                break
            if not await self._bring_up(pod):
                break  # OrderedReady: the next one waits
        for name, pod in pods.items():
            if int(name.rpartition("-")[2]) >= sts.body["spec"]["replicas"]:
                await self._client.delete(builtin.PODS, Key(key.namespace, pod.metadata.name), grace_period=0)
        await self._report(sts, revision)
        return Done()

    def _own(self, sts: RawObject) -> dict[str, RawObject]:
        return {
            pod.metadata.name: pod
            for pod in self._pods.store.all()
            if any(owner.uid == sts.metadata.uid for owner in pod.metadata.owner_references)
        }

    async def _collect(self, key: Key) -> None:
        """What the garbage collector does."""
        for pod in self._pods.store.all():
            if any(owner.name == key.name and owner.kind == "StatefulSet" for owner in pod.metadata.owner_references):
                await self._client.delete(builtin.PODS, Key(key.namespace, pod.metadata.name), grace_period=0)

    async def _create(self, sts: RawObject, name: str, revision: str) -> None:
        namespace, spec = sts.metadata.namespace, sts.body["spec"]
        template = spec["template"]
        volumes = [*template["spec"].get("volumes", [])]
        for claim in spec.get("volumeClaimTemplates", []):
            claim_name = f"{claim['metadata']['name']}-{name}"
            volumes.append({"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim_name}})
            await self._claim(namespace, claim_name, claim, spec["selector"]["matchLabels"])
        owner = {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "name": sts.metadata.name,
            "uid": sts.metadata.uid,
            "controller": True,
        }
        marks = {_REVISION: revision, "statefulset.kubernetes.io/pod-name": name}
        pod = {
            "metadata": {
                **template["metadata"],
                "name": name,
                "namespace": namespace,
                "labels": {**template["metadata"]["labels"], **marks},
                "ownerReferences": [owner],
            },
            "spec": {**template["spec"], "volumes": volumes, "hostname": name, "subdomain": spec["serviceName"]},
        }
        with suppress(AlreadyExists):  # the old one is on its way out; its end comes as an event
            await self._client.create(builtin.PODS, pod)

    async def _claim(self, namespace: str, name: str, template: Object, marks: dict[str, str]) -> None:
        own = template["metadata"].get("labels", {})
        body = {
            "metadata": {"name": name, "namespace": namespace, "labels": {**own, **marks}},
            "spec": template["spec"],
        }
        with suppress(AlreadyExists):
            await self._client.create(builtin.PVCS, body)

    async def _bring_up(self, pod: RawObject) -> bool:
        """Whether it is ready, as the store sees it."""
        if pod.metadata.deletion_timestamp is not None:
            return False
        name, have = pod.metadata.name, pod.body.get("status", {})
        up = name not in self.held and name not in self.waiting
        ready = "True" if up else "False"
        conditions = have.get("conditions", [])
        if any(c["type"] == "Ready" and c["status"] == ready for c in conditions):
            return up
        state = {"running": {}} if up else {"waiting": self.waiting.get(name, {"reason": "PodInitializing"})}
        status = {
            "phase": "Running" if up else "Pending",
            "podIP": have.get("podIP") or f"127.9.0.{next(self._addresses)}",
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": up,
                    "restartCount": 0,
                    "state": state,
                }
                for container in pod.body["spec"]["containers"]
            ],
        }
        await self._status(builtin.PODS, pod, status)
        return False  # the change comes back as an event

    async def _report(self, sts: RawObject, revision: str) -> None:
        pods = self._own(sts).values()
        have = sts.body.get("status", {})
        ready = [
            pod
            for pod in pods
            if any(
                c["type"] == "Ready" and c["status"] == "True" for c in pod.body.get("status", {}).get("conditions", [])
            )
        ]
        status = {
            "observedGeneration": sts.metadata.generation,
            "replicas": len(pods),
            "readyReplicas": len(ready),
            "currentRevision": have.get("currentRevision") or revision,
            "updateRevision": revision,
            "updatedReplicas": sum(pod.metadata.labels[_REVISION] == revision for pod in pods),
        }
        if any(have.get(field, 0) != value for field, value in status.items()):
            await self._status(builtin.STATEFULSETS, sts, status)

    async def _status(self, resource: Any, obj: RawObject, status: Object) -> None:
        with suppress(NotFound, Conflict):  # gone, or another one: its event is on the way
            await self._client.patch_status(resource, key_of(obj), status, uid=obj.metadata.uid)
