"""``Options`` as Azure's request headers, for what is written; INVALID for what Azure has not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from backends.base import Encryption, LockMode
from backends.errors import Kind, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.base import Options

TIERS = {tier.lower(): tier for tier in ("Hot", "Cool", "Cold", "Archive")}
MAX_TAGS = 10
_SCOPE = re.compile(r"[A-Za-z0-9-]{3,63}")
_TAG = re.compile(r"[A-Za-z0-9 +\-./:=_]*")


class Kept(NamedTuple):
    """``blob``: headers of a request that makes a blob; ``block``: of one that brings a block of it."""

    blob: dict[str, str]
    block: dict[str, str]


def kept(options: Options, store: str) -> Kept:
    """Encryption is the scope's where KMS is asked for; Azure's own keys encrypt everything else anyway."""

    def invalid(message: str) -> StoreError:
        return StoreError(Kind.INVALID, "open", store, "", message)

    blob: dict[str, str] = {}
    block: dict[str, str] = {}
    if options.storage_class:
        blob["x-ms-access-tier"] = _tier(options.storage_class, invalid)
    if options.encryption is Encryption.KMS:
        block["x-ms-encryption-scope"] = _scope(options.kms_key, invalid)
    elif options.kms_key:
        raise invalid("a key is for encryption KMS, where it names an encryption scope")
    if options.tags:
        blob["x-ms-tags"] = _tags(options.tags, invalid)
    if options.requester_pays:
        raise invalid("Azure has no requester pays: the account's owner pays")
    if options.lock_mode is not LockMode.NONE or options.lock_days:
        raise invalid("object lock is for S3: set an immutability policy on the container or the account")
    return Kept(blob | block, block)


def _tier(word: str, invalid: Callable[[str], StoreError]) -> str:
    if word.lower() not in TIERS:
        raise invalid(f"there is no access tier {word} on Azure, only {', '.join(TIERS.values())}")
    return TIERS[word.lower()]


def _scope(name: str, invalid: Callable[[str], StoreError]) -> str:
    if not _SCOPE.fullmatch(name):
        raise invalid("encryption KMS needs the name of an encryption scope as its key")
    return name


def _tags(tags: dict[str, str], invalid: Callable[[str], StoreError]) -> str:
    """Rules: https://learn.microsoft.com/rest/api/storageservices/set-blob-tags."""
    if len(tags) > MAX_TAGS:
        raise invalid(f"a blob takes {MAX_TAGS} index tags, not {len(tags)}")
    for name, value in tags.items():
        if not 1 <= len(name) <= 128 or len(value) > 256 or not _TAG.fullmatch(name) or not _TAG.fullmatch(value):
            raise invalid(f"Azure takes no index tag {name}={value}: 128 and 256 letters, digits, spaces and +-./:=_")
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in tags.items())
