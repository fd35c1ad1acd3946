"""R, the raw COPY limit: copies rows that were packed in advance into the reference schema, on one connection."""

from io import BytesIO
from time import perf_counter

from bench.binary_rows import PackedOrders
from bench.reference_tables import TABLES
from bench.testbed import Testbed, connection, per_order_us, settle
from bench.verification import verify_counts

ORDERS_A_TRANSACTION = 1000


async def copy_limit(testbed: Testbed, packed: PackedOrders) -> tuple[float, float]:
    """Return the orders per second that PostgreSQL stores this way, and its CPU time per order in microseconds.

    Each transaction is durable before the next one starts.
    """
    async with testbed.stores(testbed.reference) as environment, connection(environment) as database:
        await settle(database)
        before, began = testbed.processor_s(), perf_counter()
        for rows in packed:
            async with database.transaction():
                for table, columns in TABLES.items():
                    await database.copy_to_table(table, source=BytesIO(rows[table]), columns=columns, format="binary")
        seconds = perf_counter() - began
        spent = per_order_us(before, testbed.processor_s(), packed.orders)
        found = {table: await database.fetchval(f"SELECT count(*) FROM {table}") for table in ("orders", "order_items")}
        verify_counts(found, {"orders": packed.orders, "order_items": packed.items})
    return packed.orders / seconds, spent.get("postgresql", 0.0)
