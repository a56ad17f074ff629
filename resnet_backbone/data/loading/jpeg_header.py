"""Reads the header of a JPEG file, and shortens the image (ITU-T T.81, annex B)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

_START, _END = b"\xff\xd8", b"\xff\xd9"  # SOI and EOI markers
_SCAN = 0xDA
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, with Huffman coding
# Markers without a length, and fill bytes. Decoders skip them; this parser gives up, lest it read a
# frame header at another position, with another size, than the decoder.
_WITHOUT_LENGTH = (0x00, 0x01, *range(0xD0, 0xDA), 0xFF)
_BLOCK = 8  # side of a DCT block, in samples


def least_bytes(width: int, height: int, factors: Sequence[tuple[int, int]]) -> int:
    """Returns a lower bound of the size of a JPEG in bytes.

    Each block of each component has a coefficient of its own, DC, which takes a bit or more.

    Args:
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        factors: Each component's horizontal and vertical sampling factor.
    """
    units = width * height // (_BLOCK**2 * max(h for h, _ in factors) * max(v for _, v in factors))
    return units * sum(h * v for h, v in factors) // 8


@dataclass(frozen=True)
class JpegHeader:
    """The header of a JPEG with 8 bits per sample and 1 (grey) or 3 (colour) components.

    Attributes:
        height: Height in pixels.
        width: Width in pixels.
        unit: Number of pixel rows that are coded together (the height of an MCU).
        least_bytes: The file has at least so many bytes, see `least_bytes`.
        place: Offset of the frame header in the file, in bytes.
        scan: Offset of the first scan header in the file, in bytes.
    """

    height: int
    width: int
    unit: int
    least_bytes: int
    place: int
    scan: int

    def is_complete(self, data: bytes) -> bool:
        """Returns whether the end marker is there; it cannot occur within coded pixels."""
        return data.rfind(_END, self.scan) >= 0

    def shortened(self, data: bytes, rows: int) -> bytearray | None:
        """Returns a file that decodes to the first rows of `data`, at least `rows`; None for all.

        Coded rows have no length, so a decoder cannot skip any. But it stops at the height in the
        frame header, which is reduced here. One more unit is kept, because chroma is interpolated
        between rows. The remaining data stays in the file, so the decoder must be non-strict.
        """
        units = -(-rows // self.unit) + 1
        if units * self.unit >= self.height:
            return None
        content = bytearray(data)
        struct.pack_into(">H", content, self.place + 5, units * self.unit)
        return content


def read_header(data: bytes) -> JpegHeader | None:
    """Returns the header; None if `data` is not such a JPEG, or is damaged before its pixels."""
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
    except struct.error:  # the data ends here
        return None


def _read_frame(data: bytes, place: int) -> tuple[int, int, int, int, int] | None:
    """Returns (height, width, unit, least_bytes, place)."""
    bits, height, width, components = struct.unpack_from(">BHHB", data, place + 4)
    if bits != 8 or components not in (1, 3) or not height or not width:
        return None
    packed = [struct.unpack_from(">B", data, place + 11 + 3 * c)[0] for c in range(components)]
    factors = [(byte >> 4, byte & 15) for byte in packed]
    if 0 in (factor for pair in factors for factor in pair):
        return None
    least = least_bytes(width, height, factors)
    return height, width, _BLOCK * max(v for _, v in factors), least, place
