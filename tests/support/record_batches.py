"""Creates record batches as brokers store them: with any offset, of transactions, transaction markers, corrupt ones."""

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
    """Return a batch at `offset`. With a `producer` it belongs to a transaction of that producer.

    `deltas` are the relative offsets of the records, for a batch from which compaction has removed some.
    """
    transactional = int(producer != NO_PRODUCER)
    builder = DefaultRecordBatchBuilder(2, compression, transactional, producer, 0, 0, 1 << 24)
    for delta, value in zip(deltas or range(len(values)), values, strict=True):
        builder.append(delta, 1_700_000_000_000 + offset + delta, key, value, [])
    return offset.to_bytes(8, "big") + bytes(builder.build())[8:]


def marker(offset: int, producer: int, *, abort: bool = False) -> bytes:
    """Return the transaction marker that ends a transaction of `producer`."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer, 0, 0, 1 << 16)
    builder.append(0, 0, bytes([0, 0, 0, 0 if abort else 1]), b"\0" * 6, [])
    raw = bytearray(builder.build())
    raw[_ATTRIBUTES_AT + 1] |= _CONTROL
    return with_checksum(offset.to_bytes(8, "big") + bytes(raw)[8:])


def with_checksum(raw: bytes) -> bytes:
    """Return the batch with a checksum that matches its content."""
    return raw[:_HEADER_TO_CRC] + crc32c(raw[_ATTRIBUTES_AT:]).to_bytes(4, "big") + raw[_ATTRIBUTES_AT:]


def spoilt(raw: bytes) -> bytes:
    """Return the batch with one changed byte."""
    return raw[:-1] + bytes([raw[-1] ^ 0xFF])
