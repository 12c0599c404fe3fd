"""How the store of a datacenter's backups is reached: frozen while it lives, used when it is gone. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from controller.objects import ObjectMeta
from reconcilers.api.access import Access
from reconcilers.api.common import ObjectReference
from reconcilers.api.datacenter import (
    BackupSettings,
    CassandraDataCenter,
    DataCenterSpec,
    PodTemplate,
    PullPolicy,
)
from reconcilers.api.volumes import BackupVolume

if TYPE_CHECKING:
    from reconcilers.api.kubernetes import Object

_MOST = 16 * 1024  # bytes of JSON; a status holds one of them for each datacenter
_LONGEST = 1024  # characters of one literal
_SECRET_NAME = re.compile(
    r"SECRET|PASSW|TOKEN|KEY|CREDENTIAL|CONNECTION|SIGNATURE|SAS|AUTH|PRIVATE|CERT", re.IGNORECASE
)
_SECRET_VALUE = re.compile(r"://[^/\s]*@|-----BEGIN|[?&]sig=", re.IGNORECASE)


def access_of(datacenter: CassandraDataCenter) -> Access:
    """Without what would make it too large; then ``withheld`` says so."""
    spec = datacenter.spec
    variables = {v["name"]: v for v in (*spec.env, *spec.sidecar_env)}
    pull = [
        *spec.image_pull_secrets,
        *([ObjectReference(name=spec.image_pull_secret)] if spec.image_pull_secret else []),
    ]
    access = Access(
        sidecar_image=spec.sidecar_image,
        image_pull_policy=spec.image_pull_policy,
        image_pull_secrets=list({secret.name: secret for secret in pull}.values()),
        service_account_name=spec.service_account_name,
        env=[v for v in variables.values() if not _withheld(v)],
        volumes=msgspec.to_builtins(spec.backup.volumes) if spec.backup else [],
        security_context=spec.pod_template.security_context if spec.pod_template else {},
        withheld=sorted(name for name, v in variables.items() if _withheld(v)),
    )
    if len(msgspec.json.encode(access)) > _MOST:
        return Access(withheld=["its environment, which is too large"])
    return access


def datacenter_of(access: Access, namespace: str, name: str) -> CassandraDataCenter:
    """As much of the datacenter as a helper pod is built from. Its own ServiceAccount went with it."""
    return CassandraDataCenter(
        metadata=ObjectMeta(namespace=namespace, name=name),
        spec=DataCenterSpec(
            cassandra_image="-",
            sidecar_image=access.sidecar_image,
            image_pull_policy=PullPolicy(access.image_pull_policy or PullPolicy.IF_NOT_PRESENT),
            image_pull_secrets=access.image_pull_secrets,
            service_account_name=access.service_account_name or "default",
            env=access.env,
            pod_template=PodTemplate(security_context=access.security_context),
            backup=BackupSettings(volumes=msgspec.convert(access.volumes, list[BackupVolume])),
        ),
    )


def _withheld(variable: Object) -> bool:
    """A reference is no secret, and a literal is one if its name or its value looks like it."""
    value = variable.get("value", "")
    if variable.get("valueFrom") or not value:
        return False
    return bool(_SECRET_NAME.search(variable["name"]) or _SECRET_VALUE.search(value)) or len(value) > _LONGEST
