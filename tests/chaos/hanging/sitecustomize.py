"""Makes one worker hang in a write: Python runs this file first when its folder is on PYTHONPATH.

The defect that it stands for is a handler that waits for something that never comes, while the event loop turns and
beats. The first worker to write a batch notes it in the folder HANG_ONCE and hangs; the step's deadline is shortened.
"""

import os
import sys
from typing import Any

if "worker" in sys.orig_argv:
    import asyncio

    from engine.stages import transaction
    from handlers.order_handler import OrderHandler

    transaction.WRITE_DEADLINE_S, transaction.STEP_GRACE_S = 5.0, 5.0
    write = OrderHandler.handle_batch

    async def hang_once(self: OrderHandler, connection: Any, batch: Any) -> Any:
        try:
            os.close(os.open(os.path.join(os.environ["HANG_ONCE"], "hung"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return await write(self, connection, batch)
        return await asyncio.Event().wait()

    OrderHandler.handle_batch = hang_once  # type: ignore[method-assign]
    OrderHandler.statement = lambda *_: None  # type: ignore[method-assign,assignment]  # small batches too
