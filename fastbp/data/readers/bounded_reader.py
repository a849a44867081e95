"""Reading a file, unpacked if it is gzip, in pieces and up to a limit.

Invariants: no more is held than was asked for; no more is unpacked than MOST_RATIO times what is
stored and no more than an absolute limit; at the end the checksum has been compared.
"""

import os
import zlib

from fastbp.data import files

MOST_BYTES = 1 << 30  # that a file may unpack to, unless its reader says otherwise


class Damaged(ValueError):
    """A file that cannot be unpacked; the message names it."""


class BoundedReader:
    """An open file whose bytes are unpacked as they are read.

    Python's own gzip module reads names, padding and empty parts byte by byte; here zlib does. A
    file is one gzip stream and nothing after it.

    Parameters
    ----------
    path : str or path
        The file; it is packed if it begins as gzip does, whatever its name.
    most : int, optional
        No more bytes than this are unpacked or read. Default: MOST_BYTES.

    Raises
    ------
    Damaged
        A ValueError: the file is damaged or cut off, or more comes out than the limit.
    """

    def __init__(self, path, most=None):
        self.path, self.taken = path, 0
        self._file = open(path, "rb")  # noqa: SIM115  (closed by __exit__)
        self.stored = os.fstat(self._file.fileno()).st_size
        self._most = MOST_BYTES if most is None else most
        self._unpacker, self.packed = None, False
        if self._file.peek(2)[:2] == b"\x1f\x8b":
            self._unpacker, self.packed = zlib.decompressobj(16 + zlib.MAX_WBITS), True
        self._piece, self._at = b"", 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def most(self):
        """Return how many bytes may come out: digits pack up to 50 times, deflate 1,030 times."""
        return min(self._most, files.MOST_RATIO * self.stored + files.SLACK)

    def readinto(self, view):
        """Fill a part of `view`, as files do; 0 only at the end, after the checksum."""
        piece = self.take(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def read(self, n):
        """Return the next n bytes, or raise EOFError."""
        start, end = self._at, self._at + n
        if start <= end <= len(self._piece):  # nearly always, and a pickle reads single bytes
            self._at = end
            return self._piece[start:end]
        pieces = [self.take(n)]
        left = n - len(pieces[0])
        while left:
            if not pieces[-1]:
                raise EOFError("it ends too early")
            pieces.append(self.take(left))
            left -= len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readline(self):
        """Return the bytes up to and with the next line feed, or raise EOFError."""
        start, end = self._at, self._piece.find(b"\n", self._at) + 1
        if end:
            self._at = end
            return self._piece[start:end]
        pieces = [self.take(files.PIECE, b"\n")]
        while not pieces[-1].endswith(b"\n"):
            if not pieces[-1]:
                raise EOFError("it ends too early")
            pieces.append(self.take(files.PIECE, b"\n"))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def take(self, most, until=b""):
        """Return some of the next bytes, no more than `most`, up to a byte; none at the end."""
        if self._at == len(self._piece) and most:
            self._piece, self._at = self._next_piece(), 0
        start, self._at = self._at, min(self._at + most, len(self._piece))
        if until:
            self._at = self._piece.find(until, start, self._at) + 1 or self._at
        return self._piece[start : self._at]

    def _next_piece(self):
        piece = self._file.read(files.PIECE) if not self.packed else self._unpack()
        self.taken += len(piece)
        most = self.most()
        if self.taken > most:
            if most == self._most:
                verb = "unpacks to" if self.packed else "has"
                raise Damaged(
                    f"{self.path} {verb} more than {most:,} bytes, the most that fastbp reads "
                    f"from one file of this kind; give it fewer samples"
                )
            raise Damaged(
                f"{self.path} unpacks to more than {most:,} bytes, the most that fastbp unpacks "
                f"from {self.stored:,}: it is damaged or hostile; if you trust it, unpack it with "
                f"gunzip and pass the unpacked file"
            )
        return piece

    def _unpack(self):
        try:
            while not self._unpacker.eof:
                packed = self._unpacker.unconsumed_tail or self._file.read(1 << 16)
                if not packed:
                    raise Damaged(f"{self.path} is damaged or cut off: its end is missing")
                piece = self._unpacker.decompress(packed, files.PIECE)
                if piece:
                    return piece
        except zlib.error as error:
            raise Damaged(f"{self.path} is damaged or cut off: {files.brief(error)}") from None
        if self._unpacker.unused_data or self._file.read(1):
            raise Damaged(f"{self.path} is damaged: it goes on after its end")
        return b""
