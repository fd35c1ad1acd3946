"""Makes record batches as brokers keep them: of any offset, of transactions, markers, and broken ones."""

from aiokafka.record._crc32c import crc as crc32c
from aiokafka.record.default_records import DefaultRecordBatchBuilder

NO_PRODUCER = -1
_CONTROL, _TRANSACTIONAL = 0x20, 0x10
_HEADER_TO_CRC, _ATTRIBUTES_AT = 17, 21


def batch(
    offset: int,
    *values: bytes,
    deltas: tuple[int, ...] | None = None,
    producer: int = NO_PRODUCER,
    compression: int = 0,
    key: bytes | None = None,
) -> bytes:
    """Return a batch at `offset`; with a `producer` it belongs to a transaction of that one.

    `deltas` are the records' places in the batch, for one from which compaction took some away.
    """
    transactional = int(producer != NO_PRODUCER)
    builder = DefaultRecordBatchBuilder(2, compression, transactional, producer, 0, 0, 1 << 24)
    for delta, value in zip(deltas or range(len(values)), values, strict=True):
        builder.append(delta, 1_700_000_000_000 + offset + delta, key, value, [])
    return offset.to_bytes(8, "big") + bytes(builder.build())[8:]


def marker(offset: int, producer: int, *, abort: bool = False) -> bytes:
    """Return the batch that ends a transaction of `producer`."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer, 0, 0, 1 << 16)
    builder.append(0, 0, bytes([0, 0, 0, 0 if abort else 1]), b"\0" * 6, [])
    raw = bytearray(builder.build())
    raw[_ATTRIBUTES_AT + 1] |= _CONTROL
    return with_checksum(offset.to_bytes(8, "big") + bytes(raw)[8:])


def with_checksum(raw: bytes) -> bytes:
    """Return a batch with the checksum that its content has now."""
    return raw[:_HEADER_TO_CRC] + crc32c(raw[_ATTRIBUTES_AT:]).to_bytes(4, "big") + raw[_ATTRIBUTES_AT:]


def spoilt(raw: bytes) -> bytes:
    """Return a batch of which one byte is another one than was written."""
    return raw[:-1] + bytes([raw[-1] ^ 0xFF])
