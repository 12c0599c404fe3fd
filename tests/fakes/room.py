"""A sink with room of its own, which says what was copied nevertheless."""

from __future__ import annotations


class Room:
    """A sink with ``size`` bytes of room, which is used up to its end and then again."""

    def __init__(self, size: int) -> None:
        self._memory = memoryview(bytearray(size))
        self._held = 0
        self.taken = bytearray()
        self.copied = 0

    def room(self) -> memoryview | None:
        return self._memory[self._held :]

    def __call__(self, data: bytes | memoryview, /) -> None:
        with memoryview(data) as view:
            if view.obj is self._memory.obj:
                assert view == self._memory[self._held : self._held + len(view)]
            else:
                self.copied += len(view)
            self.taken += view
            self._held = (self._held + len(view)) % len(self._memory)
