"""A bucket of S3, by botocore's blocking client."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import botocore.config
import botocore.session
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Sequence

_sessions: Any = botocore.session  # botocore has no types
_config: Any = botocore.config


@dataclass(frozen=True)
class S3Store:
    """``endpoint`` is the store's URL as this machine reaches it; the keys are its root user's."""

    endpoint: str
    user: str
    password: str

    def make_empty(self, bucket: str) -> int:
        client = self._client()
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=bucket)
        return self._empty(client, bucket)

    def remove(self, bucket: str) -> None:
        client = self._client()
        for _ in range(20):
            try:
                self._empty(client, bucket)
                client.delete_bucket(Bucket=bucket)
            except ClientError as error:
                if error.response["Error"]["Code"] == "NoSuchBucket":
                    return
                if error.response["Error"]["Code"] != "BucketNotEmpty":
                    raise
            else:
                return
        raise RuntimeError(f"{bucket} is filled faster than it can be emptied")

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        self._delete(self._client(), bucket, keys)

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        return [each["Key"] for each in self._objects(self._client(), bucket, prefix)]

    def read(self, bucket: str, key: str) -> bytes:
        found: bytes = self._client().get_object(Bucket=bucket, Key=key)["Body"].read()
        return found

    def size(self, bucket: str) -> int:
        return sum(each["Size"] for each in self._objects(self._client(), bucket, ""))

    def _client(self) -> Any:
        return _sessions.get_session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-west-2",
            aws_access_key_id=self.user,
            aws_secret_access_key=self.password,
            # No proxy knows the way into the cluster's network.
            config=_config.Config(s3={"addressing_style": "path"}, proxies={}, connect_timeout=5, read_timeout=30),
        )

    def _objects(self, client: Any, bucket: str, prefix: str) -> list[dict[str, Any]]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [each for page in pages for each in page.get("Contents", [])]

    def _delete(self, client: Any, bucket: str, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), 1000):  # as many as one request may name
            objects = [{"Key": key} for key in keys[start : start + 1000]]
            client.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})

    def _empty(self, client: Any, bucket: str) -> int:
        found = [each["Key"] for each in self._objects(client, bucket, "")]
        self._delete(client, bucket, found)
        uploads = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket)
        for upload in [each for page in uploads for each in page.get("Uploads", [])]:
            client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        return len(found)
