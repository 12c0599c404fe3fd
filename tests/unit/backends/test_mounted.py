"""Credentials in a directory: what is found, what is refused with which words, and what happens when it changes."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from backends import azure_client, mounted, s3_mounted
from backends.base import Endpoint
from backends.errors import Kind, StoreError
from backends.gcs_mounted import MountedTokens
from backends.mounted import Watched
from backends.s3_credentials import Keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "s3cr3t"
KEY = {"AWS_ACCESS_KEY_ID": "id\n", "AWS_SECRET_ACCESS_KEY": f"{SECRET}\n"}
GOOGLE = {"type": "service_account", "client_email": "e@x", "private_key": "k", "token_uri": "https://x"}


def write(directory: Path, files: dict[str, str]) -> None:
    for path in directory.iterdir():
        path.unlink()
    for name, text in files.items():
        (directory / name).write_text(text)


def swap(directory: Path, files: dict[str, str], version: str) -> None:
    """As the kubelet does: a new directory, one link to it that is exchanged, and a link for each file."""
    (directory / version).mkdir()
    for name, text in files.items():
        (directory / version / name).write_text(text)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    (directory / "..tmp").symlink_to(version)
    (directory / "..tmp").rename(directory / "..data")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (KEY, ("id", SECRET, None)),
        ({**KEY, "AWS_SESSION_TOKEN": "t"}, ("id", SECRET, "t")),
        ({"access": "id", "secret": SECRET, "AWS_REGION": "x"}, ("id", SECRET, None)),
        ({"credentials": f"[default]\naws_access_key_id = id\naws_secret_access_key={SECRET}\n"}, ("id", SECRET, None)),
        (
            {"credentials": f"[b]\naws_access_key_id=id\naws_secret_access_key={SECRET}\naws_session_token=t"},
            ("id", SECRET, "t"),
        ),
    ],
)
async def test_s3_keys(tmp_path: Path, files: dict[str, str], found: tuple[str, str, str | None]) -> None:
    write(tmp_path, files)
    keys = await s3_mounted.MountedKeys(str(tmp_path), "s3://b").get_frozen_credentials()
    assert (keys.access_key, keys.secret_key, keys.token) == found


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a file credentials; it has no file"),
        ({"key.json": SECRET}, "it has key.json"),
        ({"AWS_ACCESS_KEY_ID": "id"}, "AWS_ACCESS_KEY_ID is there, and AWS_SECRET_ACCESS_KEY is missing or empty"),
        ({**KEY, "AWS_ACCESS_KEY_ID": " \n"}, "AWS_SECRET_ACCESS_KEY is there, and AWS_ACCESS_KEY_ID is missing"),
        ({"credentials": SECRET}, "the file credentials is none of the AWS tools'"),
        ({"credentials": f"[a]\nx={SECRET}\n[b]\nx=1"}, "no \\[default\\], and 2 profiles"),
        ({"credentials": f"[a]\nx={SECRET}"}, "has no aws_access_key_id"),
        ({"credentials": f"[a]\naws_secret_access_key={SECRET}"}, "aws_access_key_id is missing or empty"),
        ({"AWS_ACCESS_KEY_ID": SECRET * 20_000}, "AWS_ACCESS_KEY_ID is larger than 64 KiB"),
    ],
)  # fmt: skip
def test_no_s3_keys_are_one_sentence_without_the_secret(tmp_path: Path, files: dict[str, str], words: str) -> None:
    write(tmp_path, files)
    refused(lambda: s3_mounted.MountedKeys(str(tmp_path), "s3://b"), words)


def refused(build: Callable[[], object], words: str) -> None:
    with pytest.raises(StoreError, match=words) as e:
        build()
    assert e.value.kind is Kind.UNAUTHENTICATED
    assert "no credentials found in " in str(e.value)
    assert SECRET not in str(e.value)
    assert "\n" not in str(e.value)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    refused(lambda: s3_mounted.MountedKeys(str(tmp_path / "none"), "s3://b"), "is the Secret mounted there?")


@pytest.mark.parametrize("change", [write, swap])
def test_what_changes_is_read_again_and_only_then(tmp_path: Path, change: Any) -> None:
    if change is swap:
        swap(tmp_path, {"a": "1"}, "v1")
    else:
        write(tmp_path, {"a": "1"})
    built: list[dict[str, str]] = []
    watched = Watched(str(tmp_path), "x", lambda found: built.append(found) or len(built))
    assert [watched.get(), watched.get()] == [1, 1]
    change(tmp_path, {"a": "22"}, *(["v2"] if change is swap else []))
    assert [watched.get(), watched.get()] == [2, 2]
    assert built == [{"a": "1"}, {"a": "22"}]


def test_what_cannot_be_used_leaves_the_former(tmp_path: Path) -> None:
    write(tmp_path, KEY)
    watched = Watched(str(tmp_path), "s3://b", s3_mounted._keys)
    (tmp_path / "AWS_SECRET_ACCESS_KEY").write_text("")
    with capture_logs() as lines:
        assert watched.get().access_key == "id"
        assert watched.get().access_key == "id"
    assert len(lines) == 1
    write(tmp_path, {**KEY, "AWS_ACCESS_KEY_ID": "other"})
    assert watched.get().access_key == "other"
    tmp_path.rename(tmp_path.with_name("gone"))
    assert watched.get().access_key == "other"


async def test_a_request_that_former_keys_signed_may_go_out_again(tmp_path: Path) -> None:
    """Also within the minute in which keys are not asked for twice."""
    write(tmp_path, KEY)
    source = s3_mounted.MountedKeys(str(tmp_path), "s3://b")
    keys = Keys(partial(asyncio.sleep, 0, source))
    await keys.load()
    await keys.get_frozen_credentials()
    stamp = keys.stamp
    assert not await keys.refused("InvalidAccessKeyId", stamp)
    write(tmp_path, {**KEY, "AWS_ACCESS_KEY_ID": "other"})
    assert await keys.refused("InvalidAccessKeyId", stamp)
    assert (await keys.get_frozen_credentials()).access_key == "other"


@pytest.mark.parametrize("name", ["GOOGLE_APPLICATION_CREDENTIALS", "key", "account.json"])
def test_google_keys(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: json.dumps(GOOGLE), "other": "x"})
    tokens: Any = MountedTokens(str(tmp_path), "gs://b", None)  # type: ignore[arg-type]  # nothing is asked
    assert tokens._watched.get()._token.service_data["client_email"] == "e@x"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "needs a key file, as GOOGLE_APPLICATION_CREDENTIALS or NAME.json"),
        ({"a.json": "{}", "b.json": "{}"}, "there are 2 files NAME.json"),
        ({"key": SECRET}, "the key file holds no JSON object"),
        ({"key": json.dumps({**GOOGLE, "private_key": ""})}, "the key file lacks private_key"),
    ],
)
def test_no_google_key(tmp_path: Path, files: dict[str, str], words: str) -> None:
    write(tmp_path, files)
    refused(lambda: MountedTokens(str(tmp_path), "gs://b", None), words)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "query"),
    [
        ({"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_KEY": "a2V5"}, ""),
        ({"account": "acc", "key": "a2V5\n"}, ""),
        ({"account": "acc", "AZURE_STORAGE_SAS_TOKEN": "?sig=x"}, "sig=x"),
        ({"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acc;AccountKey=a2V5;EndpointSuffix=core.windows.net"}, ""),
    ],
)
async def test_azure(tmp_path: Path, files: dict[str, str], query: str) -> None:
    write(tmp_path, files)
    env = mounted.settings({"AZURE_STORAGE_KEY": "bm90IHRoaXM="}, str(tmp_path))
    account = await azure_client.account("container", Endpoint(), env)
    assert (account.name, account.url) == ("acc", "https://acc.blob.core.windows.net")
    assert account.credential.query == query


async def test_an_azure_key_that_changes(tmp_path: Path) -> None:
    write(tmp_path, {"account": "acc", "key": "a2V5"})
    account = await azure_client.account("container", Endpoint(), mounted.settings({}, str(tmp_path)))
    signed = [dict[str, str](), dict[str, str]()]
    await account.credential.authorize("GET", "/c", "", signed[0])
    write(tmp_path, {"account": "acc", "key": "b3RoZXI="})
    await account.credential.authorize("GET", "/c", "", signed[1])
    assert signed[0] != signed[1]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "needs AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT with"),
        ({"account": "acc"}, "needs AZURE_STORAGE_CONNECTION_STRING"),
        ({"key": "a2V5"}, "AZURE_STORAGE_ACCOUNT is missing or empty"),
    ],
)
async def test_no_azure_credentials(tmp_path: Path, files: dict[str, str], words: str) -> None:
    write(tmp_path, files)
    with pytest.raises(StoreError, match=words) as e:
        await azure_client.account("container", Endpoint(), mounted.settings({}, str(tmp_path)))
    assert e.value.kind is Kind.UNAUTHENTICATED


@pytest.mark.parametrize("files", [{"account": "acc", "key": f"!{SECRET}"}, {"connection-string": f"x={SECRET}"}])
async def test_azure_credentials_that_are_odd(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, files)
    with pytest.raises(StoreError) as e:
        await azure_client.account("container", Endpoint(), mounted.settings({}, str(tmp_path)))
    assert e.value.kind is Kind.UNAUTHENTICATED
    assert SECRET not in str(e.value)
