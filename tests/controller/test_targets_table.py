"""From a target to slots: every rule, with the reason and field a caller gets."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from phonefarm_common.reasons import FarmError
from phonefarm_controller.model.requests import AccountFact, PhoneFact, Routing, Target, TargetFacts
from phonefarm_controller.processes.targets import (
    MOST_IN_A_GROUP,
    Slot,
    resolve,
    resolve_without_account,
)
from support.examples import given

D, Q, G = Routing.DIRECT, Routing.QUEUE, Routing.GROUP

PHONES = ("p1", "p2", "bare", "crowded", "twoapps")
ACCOUNTS = (
    # account, phone, app, active
    ("a1", "p1", "video", True),
    ("a2", "p2", "video", True),
    ("off", "p2", "video", False),
    ("loose", None, "video", True),
    ("c1", "crowded", "video", True),
    ("c2", "crowded", "video", True),
    ("t1", "twoapps", "video", True),
    ("t2", "twoapps", "photo", True),
    ("dead1", "retired", "video", True),
)
FACTS = TargetFacts(
    phones={
        **{name: PhoneFact(phone_id=name, retired=False) for name in PHONES},
        "retired": PhoneFact(phone_id="retired", retired=True),
    },
    accounts={
        name: AccountFact(account_id=name, phone_id=phone, app=app, active=active)
        for name, phone, app, active in ACCOUNTS
    },
    phone_groups={"pool": ("p1", "p2"), "broken": ("p1", "bare")},
    account_groups={"team": ("a1", "a2"), "mixed": ("a1", "off")},
    apps_in_use=frozenset({"video", "photo"}),
)
ONE_APP = TargetFacts(apps_in_use=frozenset({"video"}), phone_groups={"pool": ("p1", "p2")})


def slot(name: str, phone: str, app: str = "video") -> Slot:
    """Return the slot of an account on its phone."""
    return Slot(app=app, phone_id=phone, account_id=name)


@dataclass(frozen=True)
class Good:
    """A target that can be used, and where its items run."""

    target: dict[str, Any]
    slots: tuple[Slot, ...]
    app: str | None = None
    facts: TargetFacts = field(default=FACTS, repr=False)


GOOD = (
    Good({"routing": D, "account_id": "a1"}, (slot("a1", "p1"),)),
    Good({"routing": D, "phone_id": "p1"}, (slot("a1", "p1"),)),
    Good({"routing": D, "phone_id": "p1", "account_id": "a1"}, (slot("a1", "p1"),)),
    Good({"routing": D, "phone_id": "p2"}, (slot("a2", "p2"),)),  # the inactive one is no choice
    Good({"routing": D, "phone_id": "twoapps"}, (slot("t2", "twoapps", "photo"),), "photo"),
    Good({"routing": D, "phone_id": "crowded", "account_id": "c2"}, (slot("c2", "crowded"),)),
    Good({"routing": Q}, (Slot(app="video"),), "video"),
    Good({"routing": Q}, (Slot(app="video"),), None, ONE_APP),
    Good({"routing": Q, "phone_group": "pool"}, (Slot(app="video", phone_group="pool"),), "video"),
    Good({"routing": Q, "account_id": "t2"}, (slot("t2", "twoapps", "photo"),)),
    Good({"routing": Q, "account_id": "a1", "phone_group": "pool"}, (slot("a1", "p1"),)),
    Good({"routing": G, "phone_ids": ("p1", "p2")}, (slot("a1", "p1"), slot("a2", "p2"))),
    Good({"routing": G, "account_ids": ("a2", "a1")}, (slot("a2", "p2"), slot("a1", "p1"))),
    Good({"routing": G, "phone_group": "pool"}, (slot("a1", "p1"), slot("a2", "p2"))),
    Good({"routing": G, "account_group": "team"}, (slot("a1", "p1"), slot("a2", "p2"))),
    Good(
        # the same place by five names is one item
        {
            "routing": G,
            "phone_ids": ("p1", "p1"),
            "account_ids": ("a1",),
            "phone_group": "pool",
            "account_group": "team",
            "phone_id": "p1",
            "account_id": "a2",
        },
        (slot("a1", "p1"), slot("a2", "p2")),
    ),
    Good({"routing": G, "phone_id": "p1"}, (slot("a1", "p1"),)),
)

BAD: tuple[tuple[dict[str, Any], str | None, str, str], ...] = (
    # target, app, reason, field
    ({"routing": D}, None, "invalid_request", "target"),
    ({"routing": D, "phone_group": "pool"}, None, "invalid_request", "target.phone_group"),
    (
        {"routing": D, "account_id": "a1", "account_ids": ("a1",)},
        None,
        "invalid_request",
        "target.account_ids",
    ),
    (
        {"routing": D, "phone_id": "p1", "phone_ids": ("p1",)},
        None,
        "invalid_request",
        "target.phone_ids",
    ),
    ({"routing": Q, "account_group": "team"}, "video", "invalid_request", "target.account_group"),
    ({"routing": Q, "phone_ids": ("p1",)}, "video", "invalid_request", "target.phone_ids"),
    ({"routing": Q, "account_ids": ("a1",)}, "video", "invalid_request", "target.account_ids"),
    ({"routing": D, "account_id": "who"}, None, "unknown_account:who", "target.account_id"),
    ({"routing": D, "account_id": "off"}, None, "inactive_account:off", "target.account_id"),
    ({"routing": D, "account_id": "loose"}, None, "account_not_on_phone", "target.account_id"),
    ({"routing": D, "phone_id": "what"}, None, "unknown_phone:what", "target.phone_id"),
    ({"routing": D, "phone_id": "retired"}, None, "inactive_phone:retired", "target.phone_id"),
    ({"routing": D, "phone_id": "bare"}, None, "account_required:bare", "target.phone_id"),
    ({"routing": D, "phone_id": "p1"}, "photo", "account_required:p1", "target.phone_id"),
    ({"routing": D, "phone_id": "crowded"}, None, "account_ambiguous:crowded", "target.phone_id"),
    ({"routing": D, "phone_id": "twoapps"}, None, "account_ambiguous:twoapps", "target.phone_id"),
    (
        {"routing": D, "phone_id": "p2", "account_id": "a1"},
        None,
        "account_not_on_phone",
        "target.account_id",
    ),
    (
        {"routing": D, "phone_id": "what", "account_id": "a1"},
        None,
        "unknown_phone:what",
        "target.phone_id",
    ),
    ({"routing": D, "account_id": "a1"}, "photo", "invalid_request", "inputs.app"),
    (
        {"routing": D, "account_id": "dead1"},
        None,
        "inactive_phone:retired",
        "target.account_id",
    ),
    ({"routing": Q}, None, "invalid_request", "inputs.app"),
    ({"routing": Q, "phone_id": "p1"}, "video", "invalid_request", "target.phone_id"),
    ({"routing": Q, "phone_group": "no"}, "video", "unknown_group:no", "target.phone_group"),
    ({"routing": Q, "account_id": "who"}, None, "unknown_account:who", "target.account_id"),
    (
        {"routing": Q, "account_id": "t1", "phone_group": "pool"},
        None,
        "account_not_on_phone",
        "target.account_id",
    ),
    ({"routing": G}, None, "empty_group", "target"),
    ({"routing": G, "phone_group": "no"}, None, "unknown_group:no", "target.phone_group"),
    ({"routing": G, "account_group": "no"}, None, "unknown_group:no", "target.account_group"),
    ({"routing": G, "phone_ids": ("p1", "what")}, None, "unknown_phone:what", "target.phone_ids"),
    ({"routing": G, "phone_group": "broken"}, None, "account_required:bare", "target.phone_ids"),
    (
        {"routing": G, "account_ids": ("a1", "who")},
        None,
        "unknown_account:who",
        "target.account_ids",
    ),
    ({"routing": G, "account_group": "mixed"}, None, "inactive_account:off", "target.account_ids"),
    ({"routing": G, "phone_ids": ("retired",)}, None, "inactive_phone:retired", "target.phone_ids"),
)


@pytest.mark.parametrize("good", GOOD, ids=str)
def test_a_good_target_names_where_its_items_run(good: Good) -> None:
    """One slot per item, each place once, in the order it was named."""
    slots = resolve(Target(**good.target), app=good.app, facts=good.facts)

    assert slots == good.slots


@pytest.mark.parametrize(("target", "app", "reason", "where"), BAD, ids=str)
def test_a_bad_target_is_refused_with_its_reason(
    target: dict[str, Any], app: str | None, reason: str, where: str
) -> None:
    """The first thing that is wrong decides, and is named with its field."""
    with pytest.raises(FarmError) as refused:
        resolve(Target(**target), app=app, facts=FACTS)

    assert refused.value.text == reason
    assert [problem.field for problem in refused.value.problems] == [where]


@pytest.mark.parametrize(("count", "fits"), [(MOST_IN_A_GROUP, True), (MOST_IN_A_GROUP + 1, False)])
def test_a_group_has_an_end(count: int, fits: bool) -> None:
    """A thousand distinct members fit; naming one of them twice does not count."""
    names = tuple(f"n{number}" for number in range(count))
    facts = TargetFacts(
        accounts={
            name: AccountFact(account_id=name, phone_id=f"p{name}", app="video", active=True)
            for name in names
        },
        phones={f"p{name}": PhoneFact(phone_id=f"p{name}", retired=False) for name in names},
    )
    target = Target(routing=G, account_ids=(*names, names[0]))

    if fits:
        assert len(resolve(target, app=None, facts=facts)) == count
    else:
        with pytest.raises(FarmError, match="at most 1000"):
            resolve(target, app=None, facts=facts)


NAMES = st.one_of(
    st.none(), st.sampled_from([*PHONES, "retired", "a1", "a2", "off", "loose", "dead1", "what"])
)


@given(
    routing=st.sampled_from(Routing),
    phone_id=NAMES,
    account_id=NAMES,
    phone_group=st.sampled_from([None, "pool", "broken", "no"]),
    account_group=st.sampled_from([None, "team", "mixed", "no"]),
    phone_ids=st.lists(st.sampled_from(["p1", "p2", "bare", "what"]), max_size=3),
    account_ids=st.lists(st.sampled_from(["a1", "a2", "off", "dead1", "who"]), max_size=3),
    app=st.sampled_from([None, "video", "photo", "none"]),
)
def test_whatever_the_target_slots_are_distinct_and_can_work(**drawn: Any) -> None:
    """Any target is refused with a reason, or every slot is an account on its own phone."""
    app = drawn.pop("app")
    target = Target(
        phone_ids=tuple(drawn.pop("phone_ids")),
        account_ids=tuple(drawn.pop("account_ids")),
        **drawn,
    )

    try:
        slots = resolve(target, app=app, facts=FACTS)
    except FarmError as error:
        refused = error
    else:
        assert slots
        assert len(set(slots)) == len(slots)
        for place in slots:
            assert app in {None, place.app}
            if place.account_id is not None:
                account = FACTS.accounts[place.account_id]
                assert account.active
                assert (account.phone_id, account.app) == (place.phone_id, place.app)
                assert not FACTS.phones[place.phone_id or ""].retired
        return
    assert refused.problems


def alone(phone: str | None = None, group: str | None = None) -> Slot:
    """Return the slot of work without an app."""
    return Slot(app="", phone_id=phone, phone_group=group)


@pytest.mark.parametrize(
    ("target", "slots"),
    [
        ({"routing": D, "phone_id": "p1"}, (alone("p1"),)),
        ({"routing": D, "phone_id": "bare"}, (alone("bare"),)),
        ({"routing": D, "phone_id": "crowded"}, (alone("crowded"),)),
        ({"routing": Q}, (alone(),)),
        ({"routing": Q, "phone_group": "broken"}, (alone(group="broken"),)),
        ({"routing": G, "phone_ids": ("bare", "p1", "bare")}, (alone("bare"), alone("p1"))),
        ({"routing": G, "phone_group": "broken"}, (alone("p1"), alone("bare"))),
        ({"routing": G, "phone_id": "p2"}, (alone("p2"),)),
    ],
    ids=str,
)
def test_work_without_an_app_needs_a_phone_alone(
    target: dict[str, Any], slots: tuple[Slot, ...]
) -> None:
    """Whatever accounts are bound to it."""
    assert resolve_without_account(Target(**target), facts=FACTS) == slots


@pytest.mark.parametrize(
    ("target", "reason", "fields"),
    [
        ({"routing": D}, "invalid_request", ["target.phone_id"]),
        ({"routing": D, "account_id": "a1"}, "invalid_request", ["target.account_id"]),
        (
            {"routing": G, "account_ids": ("a1",), "account_group": "team", "phone_id": "p1"},
            "invalid_request",
            ["target.account_group", "target.account_ids"],
        ),
        ({"routing": D, "phone_id": "who"}, "unknown_phone:who", ["target.phone_id"]),
        ({"routing": D, "phone_id": "retired"}, "inactive_phone:retired", ["target.phone_id"]),
        (
            {"routing": G, "phone_ids": ("p1", "retired")},
            "inactive_phone:retired",
            ["target.phone_ids"],
        ),
        ({"routing": Q, "phone_group": "no"}, "unknown_group:no", ["target.phone_group"]),
        ({"routing": Q, "phone_id": "p1"}, "invalid_request", ["target.phone_id"]),
        ({"routing": G}, "empty_group", ["target"]),
    ],
    ids=str,
)
def test_a_target_that_work_without_an_app_cannot_use_is_refused(
    target: dict[str, Any], reason: str, fields: list[str]
) -> None:
    """Every field about accounts is named: nobody shall believe that the account is reserved."""
    with pytest.raises(FarmError) as refused:
        resolve_without_account(Target(**target), facts=FACTS)

    assert refused.value.text == reason
    assert [problem.field for problem in refused.value.problems] == fields
