"""Manifests and pending records, written and read a line at a time: a million components never lie in memory as text.

The text is JSON as any other. An SSTable, and an object, has a line of its own; what is not written so (by an agent of
before) is read as a whole.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import msgspec
import zstandard

from agent.catalog.check import invalid
from agent.catalog.manifest import Manifest, Pending, SSTable, StoredObject, Table
from agent.catalog.packed import Packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_T = TypeVar("_T")

_ENCODER = msgspec.json.Encoder()
_TABLES, _OBJECTS, _REUSE = b'"tables":[', b'"objects":[', b'"reuse":['
_SSTABLES = b'"sstables":['
_PIECE = 256 << 10  # bytes of text that are compressed at once
_LEAN = 1 << 20  # bytes, compressed: of a larger manifest SSTables and objects are packed, and for reading alone
_LINE = 16 << 20  # bytes; an SSTable has some hundred components at most


def text(value: Manifest | Pending) -> Iterator[bytes]:
    """JSON, in lines where there may be many."""
    if isinstance(value, Manifest):
        # No string can hold these bytes: a quote in one is behind a backslash.
        short = _ENCODER.encode(msgspec.structs.replace(value, tables=[], objects=[]))
        head, between, tail = short.partition(b'"tables":[],"objects":[]')
        assert between, "tables and objects are one after the other"
        yield head + _TABLES + b"\n"
        yield from _tables(value.tables)
        yield b"]," + _OBJECTS + b"\n"
        yield from _lines(value.objects)
        yield b"]" + tail
    elif value.reuse is None:
        yield _ENCODER.encode(value)
    else:
        head, _, tail = _ENCODER.encode(msgspec.structs.replace(value, reuse=[])).partition(_REUSE)
        yield head + _REUSE + b"\n"
        yield from _lines(value.reuse)
        yield tail


def compress(pieces: Iterable[bytes], level: int = 6) -> bytes:
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj()
    found = io.BytesIO()  # gives what it holds without a second copy
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _PIECE:
            found.write(compressor.compress(b"".join(waiting)))
            waiting.clear()
            size = 0
    found.write(compressor.compress(b"".join(waiting)))
    found.write(compressor.flush())
    return found.getvalue()


def in_lines(data: bytes) -> bool:
    """By its beginning: what precedes the tables is short, but for the tokens."""
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(io.BytesIO(data)) as reader:
            return b'"tables":[\n' in reader.read(_PIECE)
    except zstandard.ZstdError as error:
        raise invalid(f"it is not zstd ({error})") from error


class _Format(msgspec.Struct):
    format: int


def format_of(data: bytes) -> int | None:
    """Of a manifest that is :func:`in_lines`, whatever else it holds; None where it does not say."""
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(io.BytesIO(data)) as reader:
            head, _, _ = reader.read(_PIECE).partition(_TABLES)
        return msgspec.json.decode(head + _TABLES + b"]}", type=_Format).format
    except (msgspec.MsgspecError, zstandard.ZstdError, UnicodeDecodeError, RecursionError):
        return None


def read(data: bytes, limit: int) -> Manifest:
    """A manifest that is :func:`in_lines`, not checked. ManifestInvalid for what cannot be read."""
    try:
        lines = _Lines(data, limit)
        head = next(lines, b"")
        if not head.endswith(_TABLES):
            raise invalid("it is not written in lines")
        entries = _packed if len(data) > _LEAN else _list
        tables = list(_read_tables(lines, entries))
        objects = entries(StoredObject, lines.until_end())
        tail = lines.end
        if next(lines, None) is not None:
            raise invalid("something follows its end")
        manifest = msgspec.json.decode(head + b"]," + _OBJECTS + tail, type=Manifest)  # all that is short
    except (msgspec.MsgspecError, zstandard.ZstdError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(str(error)) from error
    manifest.tables, manifest.objects = tables, objects
    return manifest


def find(
    data: bytes, wants: Callable[[Table, str], bool], limit: int
) -> Iterator[tuple[Table, SSTable, dict[int, str]]]:
    """Of a node's manifest, those SSTables that are wanted by table and name, with the keys of their objects by index.

    What it says is not checked. ManifestInvalid for what cannot be read.
    """
    found: list[tuple[Table, SSTable]] = []
    named: dict[int, str] = {}
    try:
        lines = _Lines(data, limit)
        if not next(lines, b"").endswith(_TABLES):
            raise invalid("it is not written in lines")
        for table, inner in _table_lines(lines):
            for line in inner:
                name = line[2 : line.find(b'"', 2)].decode()
                if wants(table, name):
                    found.append((table, msgspec.json.decode(line, type=SSTable)))
        needed = {one.object for _, sstable in found for one in sstable.components if one.size}
        for index, line in enumerate(lines.until_end()):
            if index in needed:
                named[index] = msgspec.json.decode(line, type=StoredObject).key
    except (msgspec.MsgspecError, zstandard.ZstdError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(str(error)) from error
    for table, sstable in found:
        mine = {one.object for one in sstable.components}
        yield table, sstable, {index: named[index] for index in mine if index in named}


class _Entries(Protocol):
    """Makes a list of lines."""

    def __call__(self, kind: type[_T], lines: Iterable[bytes]) -> list[_T]: ...


def _list(kind: type[_T], lines: Iterable[bytes]) -> list[_T]:
    return [msgspec.json.decode(line, type=kind) for line in lines]


def _packed(kind: type[_T], lines: Iterable[bytes]) -> list[_T]:
    """To be read as the list."""
    packed = Packed(kind)
    packed.extend_json(lines)
    return cast("list[_T]", packed)


def _read_tables(lines: _Lines, entries: _Entries) -> Iterator[Table]:
    for table, inner in _table_lines(lines):
        if not table.sstables:  # in its own line
            table.sstables = entries(SSTable, inner)
        yield table


def _table_lines(lines: _Lines) -> Iterator[tuple[Table, Iterator[bytes]]]:
    """Up to the first object: each table, with the lines of its SSTables, which must be taken before the next."""
    for line in lines:
        if line == b"]," + _OBJECTS:
            return
        if line.endswith(_SSTABLES):
            table = msgspec.json.decode(line.removesuffix(b"," + _SSTABLES) + b"}", type=Table)
            yield table, lines.until_end()
            if lines.end.removesuffix(b",") != b"]}":
                raise invalid("a table has no end")
        elif line:
            yield msgspec.json.decode(line.removesuffix(b","), type=Table), iter(())
    raise invalid("it ends too early")


class _Lines:
    """Of what is compressed, no more than ``limit`` bytes in all."""

    def __init__(self, data: bytes, limit: int) -> None:
        self.end = b""
        self._limit = self._left = limit
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(io.BytesIO(data))
        self._lines = io.BufferedReader(reader, _PIECE)

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> bytes:
        line = self._lines.readline(min(_LINE, self._left) + 1)
        self._left -= len(line)
        if self._left < 0 or len(line) > _LINE:
            raise invalid(f"it holds more than {self._limit} bytes, or a line of more than {_LINE}")
        if not line:
            raise StopIteration
        return line.removesuffix(b"\n")

    def until_end(self) -> Iterator[bytes]:
        """Elements of a list, without the commas between them; its last line is ``end`` then."""
        for line in self:
            if line.startswith(b"]"):
                self.end = line
                return
            yield line.removesuffix(b",")
        raise invalid("it ends too early")


def _tables(tables: Iterable[Table]) -> Iterator[bytes]:
    for comma, table in _with_commas(tables):
        head = _ENCODER.encode(msgspec.structs.replace(table, sstables=[]))
        lines = _lines(table.sstables)
        if (first := next(lines, None)) is None:
            yield comma + head
        else:
            yield comma + head[:-1] + b"," + _SSTABLES + b"\n" + first
            yield from lines
            yield b"]}"
    yield b"\n"


def _lines(values: Iterable[object]) -> Iterator[bytes]:
    last = b""
    for value in values:
        if last:
            yield last + b",\n"
        last = _ENCODER.encode(value)
    if last:
        yield last + b"\n"


def _with_commas(values: Iterable[_T]) -> Iterator[tuple[bytes, _T]]:
    """What stands before each."""
    before = b""
    for value in values:
        yield before, value
        before = b",\n"
