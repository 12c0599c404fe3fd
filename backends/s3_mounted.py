"""S3 keys from a directory (mounted.py): a file each, or a shared credentials file as the AWS tools write it."""

from __future__ import annotations

import configparser
from typing import TYPE_CHECKING

from botocore.credentials import ReadOnlyCredentials

from backends import mounted

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY = ("AWS_ACCESS_KEY_ID", "aws_access_key_id", "access")
_SECRET = ("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key", "secret")
_TOKEN = ("AWS_SESSION_TOKEN", "aws_session_token")
_SHARED = "credentials"


class MountedKeys:
    """In place of the SDK's credentials."""

    method = "mounted-secret"

    def __init__(self, directory: str, store: str) -> None:
        """UNAUTHENTICATED where there are none."""
        self._watched = mounted.Watched(directory, store, _keys)

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return self._watched.get()


def _keys(found: dict[str, str]) -> ReadOnlyCredentials:
    if values := mounted.pair(found, _KEY, _SECRET):
        return ReadOnlyCredentials(values[0], values[1], _first(found, _TOKEN), None)
    if _SHARED in found:
        return _profile(found[_SHARED])
    wanted = f"{_KEY[0]} and {_SECRET[0]}, or a file {_SHARED}"
    raise ValueError(f"the Secret needs {wanted}{mounted.others(found)}")


def _profile(text: str) -> ReadOnlyCredentials:
    """[default], or the only one there is."""
    parser = configparser.RawConfigParser(default_section="")
    try:
        parser.read_string(text)
    except configparser.Error:
        raise ValueError(f"the file {_SHARED} is none of the AWS tools': it has [sections] with name = value") from None
    names = parser.sections()
    if "default" not in names and len(names) != 1:
        raise ValueError(f"the file {_SHARED} has no [default], and {len(names)} profiles")
    section = dict(parser["default" if "default" in names else names[0]])
    values = mounted.pair(section, ("aws_access_key_id",), ("aws_secret_access_key",))
    if not values:
        raise ValueError(f"the file {_SHARED} has no aws_access_key_id")
    return ReadOnlyCredentials(values[0], values[1], section.get("aws_session_token") or None, None)


def _first(found: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((found[name] for name in names if name in found), None)
