"""Reading a file, decompressed if it is gzip, chunk by chunk and up to a limit.

Invariants: one chunk is held in memory; at most MAX_RATIO times the size of the file, and at most
an absolute limit, are decompressed; when the end is reached the checksum has been verified.
"""

import os
import zlib

from fastbp.data import files, messages

MAX_BYTES = 1 << 30  # decompressed, unless the reader of a format has another limit


class DamagedFileError(ValueError):
    """A file cannot be decompressed; the message names it."""


class BoundedReader:
    """An open file whose bytes are decompressed as they are read.

    The file is one gzip stream, with nothing after it. (Not Python's gzip module: it reads names,
    padding and empty members byte by byte, in which a hostile file can keep it for minutes.)

    Parameters
    ----------
    path : str or path
        The file. It is decompressed if it begins with the magic number of gzip, whatever its name.
    max_bytes : int, optional
        The limit of decompressed bytes. Default: MAX_BYTES.

    Raises
    ------
    DamagedFileError
        A ValueError: the file is damaged or cut off, or holds more bytes than the limit.
    """

    def __init__(self, path, max_bytes=None):
        self.path, self.n_read = path, 0
        self._file = open(path, "rb")  # noqa: SIM115  (closed by __exit__)
        self.stored_size = os.fstat(self._file.fileno()).st_size
        self._max_bytes = MAX_BYTES if max_bytes is None else max_bytes
        self.compressed = self._file.peek(2)[:2] == b"\x1f\x8b"
        self._decompressor = zlib.decompressobj(16 + zlib.MAX_WBITS) if self.compressed else None
        self._chunk, self._position = b"", 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def limit(self):
        """Return how many bytes may be read in all: the lower one of the two limits."""
        return min(self._max_bytes, files.MAX_RATIO * self.stored_size + files.SLACK)

    def readinto(self, view):
        """Fill a part of `view` and return its length; 0 at the end, after the checksum."""
        part = self.read_some(len(view))
        view[: len(part)] = part
        return len(part)

    def read(self, n):
        """Return the next n bytes, or raise EOFError."""
        start, end = self._position, self._position + n
        if start <= end <= len(self._chunk):  # the fast path: a pickle is read byte by byte
            self._position = end
            return self._chunk[start:end]
        parts = [self.read_some(n)]
        left = n - len(parts[0])
        while left:
            if not parts[-1]:
                raise EOFError("it ends too early")
            parts.append(self.read_some(left))
            left -= len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readline(self):
        """Return the bytes up to and including the next line feed, or raise EOFError."""
        start, end = self._position, self._chunk.find(b"\n", self._position) + 1
        if end:
            self._position = end
            return self._chunk[start:end]
        parts = [self.read_some(files.CHUNK, b"\n")]
        while not parts[-1].endswith(b"\n"):
            if not parts[-1]:
                raise EOFError("it ends too early")
            parts.append(self.read_some(files.CHUNK, b"\n"))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_some(self, n, until=b""):
        """Return at least 1 and at most n of the next bytes, up to a byte; b"" at the end."""
        if self._position == len(self._chunk) and n:
            self._chunk, self._position = self._next_chunk(), 0
        start, self._position = self._position, min(self._position + n, len(self._chunk))
        if until:
            self._position = self._chunk.find(until, start, self._position) + 1 or self._position
        return self._chunk[start : self._position]

    def _next_chunk(self):
        """Return the next bytes, b"" at the end; raise DamagedFileError beyond the limit."""
        chunk = self._decompress() if self.compressed else self._file.read(files.CHUNK)
        self.n_read += len(chunk)
        limit = self.limit()
        if self.n_read > limit:
            if limit == self._max_bytes:
                verb = "unpacks to" if self.compressed else "has"
                raise DamagedFileError(
                    f"{self.path} {verb} more than {limit:,} bytes, the most that fastbp reads "
                    f"from one file of this kind; give it fewer samples"
                )
            raise DamagedFileError(
                f"{self.path} unpacks to more than {limit:,} bytes, the most that fastbp unpacks "
                f"from {self.stored_size:,}: it is damaged or hostile; if you trust it, unpack it "
                f"with gunzip and pass the unpacked file"
            )
        return chunk

    def _decompress(self):
        """Return the next decompressed bytes, b"" at the end; raise DamagedFileError."""
        try:
            while not self._decompressor.eof:
                stored = self._decompressor.unconsumed_tail or self._file.read(1 << 16)
                if not stored:
                    raise DamagedFileError(f"{self.path} is damaged or cut off: its end is missing")
                chunk = self._decompressor.decompress(stored, files.CHUNK)
                if chunk:
                    return chunk
        except zlib.error as error:
            reason = messages.shorten(error)
            raise DamagedFileError(f"{self.path} is damaged or cut off: {reason}") from None
        if self._decompressor.unused_data or self._file.read(1):
            raise DamagedFileError(f"{self.path} is damaged: it goes on after its end")
        return b""
