"""Qt's binary resource files (rcc): a tree of names, and the files at its leaves."""

import struct
from collections.abc import Iterator

_COMPRESSED, _FOLDER = 5, 2  # flags: zlib or Zstandard; folder


def read_resources(data: bytes) -> dict[str, bytes]:
    """The files that are stored as they are, by path; compressed ones are left out."""
    magic, version, tree, contents, names = struct.unpack_from(">4sIIII", data)
    if magic != b"qres":
        raise ValueError(f"expected a Qt resource file that begins with qres, got {magic!r}")
    step = 14 if version < 2 else 22  # from the second version on, entries have a time

    def name(entry: int) -> str:
        (at,) = struct.unpack_from(">I", data, entry)
        (length,) = struct.unpack_from(">H", data, names + at)
        start = names + at + 6  # behind the length and a hash
        return data[start : start + 2 * length].decode("utf-16-be")

    def walk(entry: int, path: str) -> Iterator[tuple[str, bytes]]:
        (flags,) = struct.unpack_from(">H", data, entry + 4)
        if flags & _FOLDER:
            count, first = struct.unpack_from(">II", data, entry + 6)
            for child in range(tree + first * step, tree + (first + count) * step, step):
                yield from walk(child, f"{path}/{name(child)}")
        elif not flags & _COMPRESSED:
            start = contents + struct.unpack_from(">I", data, entry + 10)[0]
            (length,) = struct.unpack_from(">I", data, start)
            yield path, data[start + 4 : start + 4 + length]

    return dict(walk(tree, ""))
