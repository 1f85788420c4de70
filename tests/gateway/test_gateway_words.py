"""The words that the OpenAPI document lists are those that controllers send."""

from enum import StrEnum

import pytest
from gateway.support.published import check_schema, published
from phonefarm.schemas.callback_event import ProcessUpdated
from phonefarm_common import wire_enums
from phonefarm_common.reasons import FailureClass
from phonefarm_controller.capabilities.catalog import CAPABILITIES, ENQUEUE
from phonefarm_controller.model import states
from phonefarm_controller.rpc.fleet_convert import _LEASE_WORDS

SCHEMAS = published()["components"]["schemas"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ProcessStatus", states.PublicStatus),
        ("ItemState", states.ItemState),
        ("DeliveryState", states.DeliveryState),
        ("FailureClass", FailureClass),
        ("PhoneHealth", states.Health),
        ("PhoneIntent", states.Intent),
        ("PhoneTransport", wire_enums.Transport),
        ("PhoneReadiness", wire_enums.Readiness),
    ],
)
def test_every_word_of_the_farm_is_listed(name: str, kind: type[StrEnum]) -> None:
    """None too few, none that nobody sends; a phone's lease has a word more than leases have."""
    assert set(SCHEMAS[name]["enum"]) == {str(word) for word in kind}
    assert SCHEMAS["PhoneLease"]["enum"] == ["free", *_LEASE_WORDS.values()]


def test_every_milestone_is_listed() -> None:
    """What docs/rest.md says: two of their own, and every status except queued."""
    statuses = set(SCHEMAS["ProcessStatus"]["enum"]) - {"queued"}

    assert set(SCHEMAS["Milestone"]["enum"]) == statuses | {"accepted", "cancel_requested"}


def test_names_of_schemas_make_names_of_classes() -> None:
    """Each is a word: a generator that drops a hyphen would have two classes of one name."""
    assert [name for name in SCHEMAS if not name.isidentifier()] == []


def test_an_enqueue_is_described_for_each_capability() -> None:
    """The one for a capability takes its inputs, and no other's."""
    mapping = SCHEMAS["Enqueue"]["discriminator"]["mapping"]
    body = {
        "request_id": "r",
        "capability": "keyword_warmup",
        "mode": "manual",
        "target": {"routing": "queue"},
        "inputs": {"keywords": ["tea"]},
        "callback": {"url": "http://example.com"},
        "requested_by": {"system": "s"},
    }

    assert set(mapping) == {one.name for one in CAPABILITIES.values() if one.endpoint == ENQUEUE}
    check_schema(SCHEMAS["Enqueue"], body)
    with pytest.raises(AssertionError):
        check_schema(SCHEMAS["Enqueue"], body | {"capability": "fyp_warmup"})
    with pytest.raises(AssertionError):
        check_schema(SCHEMAS["Enqueue"], body | {"inputs": {"keywords": ["tea"], "wrong": 1}})


def test_the_events_of_streams_name_their_data() -> None:
    """Each name leads to a schema that is there."""
    streams = 0
    for methods in published()["paths"].values():
        for operation in methods.values():
            content = operation["responses"].get("200", {}).get("content", {})
            if "text/event-stream" in content:
                streams += 1
                for data in content["text/event-stream"]["x-event-data"].values():
                    assert data["$ref"].rpartition("/")[2] in SCHEMAS

    assert streams == 2
    webhook = published()["webhooks"]["process.updated"]["post"]
    schema = webhook["requestBody"]["content"]["application/json"]["schema"]
    assert schema["$ref"].endswith(f"/{ProcessUpdated.__name__}")
