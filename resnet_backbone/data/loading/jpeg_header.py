"""What the header of a JPEG file says, and how to make the file end early (ITU-T T.81, annex B)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_START, _END = b"\xff\xd8", b"\xff\xd9"  # of the image
_SCAN = 0xDA
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, with Huffman codes
# Standing alone, or filling up. Decoders find their way past them; a frame header that is read
# elsewhere than theirs, and of another size, must not be.
_WITHOUT_LENGTH = (0x00, 0x01, *range(0xD0, 0xDA), 0xFF)
_BLOCK = 8  # side of what is coded at once, in samples


@dataclass(frozen=True)
class JpegHeader:
    """Of a file with 8 bits per sample and 1 (grey) or 3 (colour) components.

    Attributes:
        height: In pixels.
        width: In pixels.
        unit: Rows of pixels that are coded together.
        place: Where in the file the frame header is.
        scan: Where in the file the first scan header is.
    """

    height: int
    width: int
    unit: int
    place: int
    scan: int

    def is_complete(self, data: bytes) -> bool:
        """Whether the end of the image is there; coded pixels never look like it."""
        return data.rfind(_END, self.scan) >= 0

    def shortened(self, data: bytes, rows: int) -> bytearray | None:
        """Returns a file of which the first `rows` rows are those of `data`; None: of all of them.

        Coded rows have no length and follow each other, so a decoder can skip none, but stops where
        the header says that the image ends. One unit more is kept, as colours are interpolated
        between rows. What follows is left in the file: a decoder has to be told not to mind.
        """
        units = -(-rows // self.unit) + 1
        if units * self.unit >= self.height:
            return None
        content = bytearray(data)
        struct.pack_into(">H", content, self.place + 5, units * self.unit)
        return content


def read_header(data: bytes) -> JpegHeader | None:
    """Returns the header; None where `data` is no such file, or damaged before its pixels."""
    if data[:2] != _START:
        return None
    frame, position = None, 2
    try:
        while True:
            prefix, marker, length = struct.unpack_from(">BBH", data, position)
            if prefix != 0xFF or marker in _WITHOUT_LENGTH or length < 2:
                return None
            if marker == _SCAN:
                return frame and JpegHeader(*frame, scan=position)
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame
                frame = _read_frame(data, position) if marker in _FRAMES else None
                if frame is None:
                    return None
            position += 2 + length
    except struct.error:  # the file ends here
        return None


def _read_frame(data: bytes, place: int) -> tuple[int, int, int, int] | None:
    """Returns (height, width, unit, place)."""
    bits, height, width, components = struct.unpack_from(">BHHB", data, place + 4)
    if bits != 8 or components not in (1, 3) or not height or not width:
        return None
    factors = [
        struct.unpack_from(">B", data, place + 11 + 3 * c)[0] & 15 for c in range(components)
    ]
    return height, width, _BLOCK * max(factors), place
