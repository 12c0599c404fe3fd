"""What is kept of a datacenter, so that its backups' store can be reached when it is gone. No secret is among it."""
# ruff: noqa: RUF012  msgspec gives each object its own copy of an empty default

from __future__ import annotations

from typing import Annotated, Any

from reconcilers.api import kubernetes
from reconcilers.api.common import Api, ObjectReference
from reconcilers.api.describe import doc
from reconcilers.api.kubernetes import Object  # noqa: TC001  likewise

_OPEN: dict[str, Any] = {"x-kubernetes-preserve-unknown-fields": True}


class Access(Api, kw_only=True):
    """Names of Secrets, never their content."""

    sidecar_image: Annotated[str, doc("Image of the agent.")] = ""
    image_pull_policy: Annotated[str, doc("When it is pulled.")] = ""
    image_pull_secrets: Annotated[list[ObjectReference], doc("Secrets for pulling it.")] = []
    service_account_name: Annotated[str, doc("ServiceAccount that the datacenter's spec named.")] = ""
    env: Annotated[
        list[Object], doc("Environment of the agent, without literals that look secret.", shape=kubernetes.EnvVar)
    ] = []
    volumes: Annotated[list[Object], doc("The datacenter's spec.backup.volumes.")] = []
    security_context: Annotated[Object, doc("Security of the pods, as in a pod's securityContext.", **_OPEN)] = {}
    withheld: Annotated[
        list[str], doc("Names of variables that are not kept, as their values look secret or are too long.")
    ] = []
