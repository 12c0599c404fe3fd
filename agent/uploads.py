"""Multipart uploads under way, on the data volume: what a restarted agent goes on with.

``<state dir>/uploads/<tag>`` is lines of JSON, each behind its own CRC32C: whose they are; an upload's id when it was
made; each part that the store took, with the sums of the bytes that were sent; and that an upload is over.

It saves work and proves nothing: which parts there are is the store's word, and a part that has no line here is read
again to be known. So a journal that is torn, lost, or cannot be written costs reads or bytes, never an object. It is
its holder's alone (``flock``): a second agent over the same volume goes on without one.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import structlog

from agent import files
from agent.catalog import check_tag
from backends.checksums import crc32c
from backends.threads import run

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from agent.integrity import Sums
    from backends.base import Part

KEEP = 7 * 86400.0  # seconds; then nobody takes a failed backup up again
_FORMAT = 1

log = structlog.get_logger(__name__)


class Owner(msgspec.Struct, frozen=True, array_like=True, tag="of"):
    """Which backup, of which node: uploads of any other are not ours to go on with. ``root`` is the node's path."""

    backup_id: str
    epoch: str
    root: str
    format: int = _FORMAT


class _Opened(msgspec.Struct, array_like=True, tag="opened"):
    key: str
    id: str


class Sent(msgspec.Struct, array_like=True, tag="sent"):
    """A part as the store took it, and the sums of its bytes in the file; ``crc32`` is Data.db's alone.

    ``size`` is that of its range in the file; ``stored`` the CRC32C of what was sent, where that was encoded.
    """

    upload: str
    number: int
    size: int
    etag: str
    crc32c: int
    crc32: int | None = None
    stored: int | None = None


class _Over(msgspec.Struct, array_like=True, tag="over"):
    upload: str


_Line: TypeAlias = Owner | _Opened | Sent | _Over
_DECODER: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(_Line)


@dataclass(slots=True)
class Known:
    """An upload that is not over, and its parts by number."""

    id: str
    sent: dict[int, Sent] = field(default_factory=dict)


class UploadJournal:
    """``uploads`` by the object's full key. ``ours`` is False where another holds it: then nothing is written."""

    def __init__(self, directory: Path, tag: str, owner: Owner) -> None:
        self._path = directory / check_tag(tag)
        self._owner = owner
        self._descriptor = -1
        self.ours = True
        self.uploads: dict[str, Known] = {}

    def open(self) -> Self:
        """Reads what is there. Blocks. An unwritable volume is no reason to fail a backup."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load()
        except BlockingIOError:
            log.warning("another backup of this tag is at work on this volume: its uploads are left alone")
            self.ours = False
            self.close()
        except OSError as error:
            self._unwritable(error)
        return self

    def close(self) -> None:
        """What was written stays, for the next try."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        """The backup is over for good; and so are journals that nobody asked for in a week."""
        self.close()
        if not self.ours:
            return
        with suppress(OSError):
            files.remove(self._path)
            for path in self._path.parent.iterdir():
                if time.time() - path.stat().st_mtime > KEEP:
                    files.remove(path)

    async def opened(self, key: str, upload: str) -> None:
        self.uploads[key] = Known(upload)
        await run(self._write, _Opened(key, upload), sync=True)

    async def sent(self, upload: str, part: Part, sums: Sums) -> None:
        line = Sent(upload, part.number, sums.size, part.etag, sums.crc32c, sums.crc32, sums.stored)
        await run(self._write, line)

    async def over(self, key: str, upload: str) -> None:
        """Completed, aborted, or found to be gone."""
        if key in self.uploads and self.uploads[key].id == upload:
            del self.uploads[key]
        await run(self._write, _Over(upload))

    def _load(self) -> None:
        """Up to the first line that is not whole: after it nothing was written, or nothing can be believed."""
        good = 0
        by_id: dict[str, str] = {}
        with open(os.dup(self._descriptor), "rb") as file:  # noqa: PTH123  the locked descriptor
            file.seek(0)
            for text in file:
                line = _parse(text)
                if line is None:
                    log.warning("the journal of uploads is torn: what follows is read again", path=str(self._path))
                    break
                if not good and line != self._owner:
                    log.info("the journal of uploads is another backup's and is ignored", path=str(self._path))
                    break
                good += len(text)
                self._apply(line, by_id)
        os.ftruncate(self._descriptor, good)
        if not good:
            self._write(self._owner)

    def _apply(self, line: _Line, by_id: dict[str, str]) -> None:
        if isinstance(line, _Opened):
            by_id[line.id] = line.key
            self.uploads[line.key] = Known(line.id)
        elif isinstance(line, Sent):
            known = self.uploads.get(by_id.get(line.upload, ""))
            if known is not None and known.id == line.upload:
                known.sent[line.number] = line
        elif isinstance(line, _Over):
            key = by_id.get(line.upload, "")
            if key in self.uploads and self.uploads[key].id == line.upload:
                del self.uploads[key]

    def _write(self, line: _Line, *, sync: bool = False) -> None:
        if self._descriptor < 0:
            return
        text = msgspec.json.encode(line)
        data = b"%08x %b\n" % (crc32c(text), text)
        try:
            if os.write(self._descriptor, data) != len(data):
                raise OSError(0, "the line was cut")  # noqa: TRY301  as a full disk
            if sync:
                os.fsync(self._descriptor)
        except OSError as error:
            self._unwritable(error)

    def _unwritable(self, error: OSError) -> None:
        log.warning("uploads are not journalled: after a crash more is sent again", error=str(error))
        self.close()


def _parse(text: bytes) -> _Line | None:
    try:
        if int(text[:8], 16) != crc32c(text[9:-1]) or not text.endswith(b"\n"):
            return None
        return _DECODER.decode(text[9:-1])
    except (ValueError, msgspec.MsgspecError):
        return None
