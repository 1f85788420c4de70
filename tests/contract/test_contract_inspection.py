"""The rules about looking into the work, over HTTP against the real system."""

from typing import Final

import pytest
from phonefarm_common.ids import new_id
from support.rest_farm import RestFarm

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY: Final = "6f1c2f0e-8f0f-4c55-9d55-0f6a1a2b3c4d"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/processes/{NOBODY}"),
        ("GET", "/processes/nonsense"),
        ("GET", f"/processes/{NOBODY}/timeline"),
        ("GET", f"/processes/{NOBODY}/explain"),
        ("GET", f"/processes/{NOBODY}/deliveries"),
        ("GET", f"/processes/{NOBODY}/evidence"),
        ("GET", f"/processes/{NOBODY}/events"),
        ("POST", f"/processes/{NOBODY}/cancel"),
        ("POST", "/processes/nonsense/cancel"),
        ("POST", f"/processes/{NOBODY}/deliveries/replay"),
        ("GET", f"/queue-items/{NOBODY}"),
        ("GET", "/queue-items/nonsense"),
        ("GET", f"/processes/{NOBODY}/evidence/{NOBODY}"),
    ],
)
async def test_what_there_is_not_is_404(still: RestFarm, method: str, path: str) -> None:
    """A process, an item, a file nobody knows, and ids that are no UUID."""
    body = {"reason": "r", "requested_by": "x"} if method == "POST" else None
    if path.endswith("replay"):
        body = {}

    answer = await still.caller.call(method, path, body)

    assert answer.status == 404, answer.body
    assert answer.body["error"].startswith("unknown_")


async def test_processes_are_found_by_every_filter(still: RestFarm) -> None:
    """Each filter keeps the wanted one; together they are joined by and."""
    system = new_id()
    first = await still.enqueue(request_id="f-1", requested_by={"system": system})
    second = await still.enqueue(
        request_id="f-2",
        requested_by={"system": system},
        capability="fyp_warmup",
        inputs={"judge_prompt": "p"},
        target={"routing": "direct", "account_id": "acc-SIM2"},
    )
    created = (await still.record(second))["timestamps"]["created_at"]
    await still.cancel(second)

    async def found(query: str) -> list[str]:
        page = await still.get(f"/processes?system={system}&{query}")
        return [record["process_id"] for record in page["processes"]]

    assert await found("") == [second, first]
    assert await found("status=queued") == [first]
    assert await found("status=queued&status=cancelled") == [second, first]
    assert await found("type=fyp_warmup") == [second]
    assert await found("request_id=f-1") == [first]
    assert await found("account_id=acc-SIM2") == [second]
    assert await found("phone_id=ph-sim1") == [first]
    assert await found("created_from=2100-01-01T00:00:00Z") == []
    assert second in await found(f"created_from={created}")
    assert await found(f"created_before={created}") in ([first], [])
    assert await found("status=cancelled&type=keyword_warmup") == []
    page = await still.get(f"/processes?system={system}&limit=1")
    assert [record["process_id"] for record in page["processes"]] == [second]
    assert await found(f"limit=1&cursor={page['next_cursor']}") == [first]
