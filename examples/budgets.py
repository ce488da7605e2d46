"""The same picture under several budgets at once: `python budgets.py PICTURE`. Which model answers, and why?"""

import asyncio
import os
import sys

from service.client import AsyncClient, DeadlineExceeded, NotAvailable, Unsatisfiable

SERVER = os.environ.get("VISION_SERVER", "http://127.0.0.1:8080")
BUDGETS_MS = (1, 20, 50, 150, 2000)


async def ask(client: AsyncClient, picture: str, budget_ms: float) -> str:
    try:
        answer = await client.classify(picture, budget_ms=budget_ms)
    except Unsatisfiable as err:  # 422: not even on an idle machine
        return err.detail
    except (NotAvailable, DeadlineExceeded) as err:  # 503, 504: not under the load just now
        return err.detail
    took_ms = answer.timing_ms["total"]
    return f"{answer.label} ({answer.score:.0%}) by {answer.model.name} in {took_ms:.0f} ms: {answer.routing.reason}"


async def main(picture: str) -> None:
    async with AsyncClient(SERVER) as client:
        said = await asyncio.gather(*(ask(client, picture, budget_ms) for budget_ms in BUDGETS_MS))
    for budget_ms, line in zip(BUDGETS_MS, said, strict=True):
        print(f"{budget_ms:5} ms  {line}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
