"""Uses a client that openapi-python-client made: GENERATED-FOLDER BASE KEY HOOK; prints JSON."""

import importlib
import json
import sys
from typing import Any

folder, base, key, hook = sys.argv[1:]
sys.path.insert(0, folder)


def of(path: str) -> Any:
    """Return a module of the generated package."""
    return importlib.import_module(f"phonefarm_client.{path}")


models = of("models")
farm = of("client").AuthenticatedClient(base_url=base, token=key)
accepted = of("api.work.enqueue").sync(
    client=farm,
    body=models.EnqueueKeywordWarmup(
        request_id="python",
        capability="keyword_warmup",
        mode=models.EnqueueKeywordWarmupMode.MANUAL,
        target=models.Target(routing=models.TargetRouting.DIRECT, account_id="acc-SIM1"),
        inputs=models.KeywordWarmupInputs(keywords=["tea"], videos_per_keyword=1),
        callback=models.Callback(url=hook),
        requested_by=models.RequestedBy(system="generated"),
    ),
)
assert isinstance(accepted, models.Accepted), accepted
cancelled = of("api.work.cancel_process").sync(
    client=farm,
    process_id=accepted.process_id,
    body=models.Cancel(reason="a test", requested_by="generated"),
)
assert isinstance(cancelled, models.Cancelled), cancelled
record = of("api.processes.get_process").sync(client=farm, process_id=accepted.process_id)
phones = of("api.phones.list_phones").sync(client=farm)
refused = of("api.phones.get_phone").sync(client=farm, phone_id="nobody")
print(
    json.dumps(
        {
            "status": record.status,
            "phones": [one.transport for one in phones.phones],
            "error": refused.error,
        }
    )
)
