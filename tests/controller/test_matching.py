"""The matcher gives the pairs that its rules name, whatever waits and whatever is free."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from phonefarm_controller.model.items import Candidate
from phonefarm_controller.scheduler import matching
from phonefarm_controller.scheduler.matching import FreePhone, match_items
from support.examples import at_most, given

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PHONES = [f"ph-{letter}" for letter in "abc"]
_PHONE = st.sampled_from(PHONES)
_ACCOUNTS = {phone: {"x": f"x-{phone}", "y": f"y-{phone}"} for phone in PHONES}


@st.composite
def _fleets(draw: st.DrawFn) -> list[FreePhone]:
    phones = []
    for phone_id in draw(st.permutations(PHONES))[: draw(st.integers(1, 3))]:
        apps = draw(st.sampled_from(["x", "xy"]))
        phones.append(
            FreePhone(
                phone_id=phone_id,
                agent_id="a",
                accounts={app: (_ACCOUNTS[phone_id][app],) for app in apps},
                groups=frozenset(draw(st.sets(st.sampled_from("g")))),
                crowded=frozenset(draw(st.sampled_from(["", "", "", "x"]))),
                ends={
                    _ACCOUNTS[phone_id][app]: NOON + timedelta(seconds=draw(st.integers(59, 61)))
                    for app in draw(st.sampled_from(["", "", "x", "xy"]))
                },
            )
        )
    return phones


@st.composite
def _candidates(draw: st.DrawFn) -> list[Candidate]:
    made = []
    for number in range(draw(st.integers(1, 4))):
        app, phone_id = draw(st.sampled_from("xxy")), draw(st.none() | _PHONE)
        bound = phone_id is not None
        made.append(
            Candidate(
                item_id=f"item-{number}",
                process_id=f"process-{number}",
                priority=draw(st.integers(4, 6)),
                created_at=NOON + timedelta(seconds=draw(st.integers(0, 3))),
                ordinal=0,
                app=app,
                want_phone_id=phone_id,
                want_account_id=_ACCOUNTS[phone_id][app] if phone_id is not None else None,
                want_phone_group=None if bound else draw(st.sampled_from([None, None, "g"])),
                last_phone_id=draw(st.none() | _PHONE),
                cap_seconds=draw(st.sampled_from([10.0, 60.0])),
            )
        )
    return made


def _as_the_rules_say(
    waiting: Sequence[Candidate], phones: Sequence[FreePhone]
) -> list[tuple[str, str, str]]:
    """Return (item, phone, account), comparing all phones again for each item."""
    queue = sorted(waiting, key=lambda candidate: candidate.queue_order)
    wanted = {candidate.want_phone_id for candidate in queue}
    free = {phone.phone_id: phone for phone in phones}
    pairs = []
    for item in queue:
        fits = []
        for phone in free.values():
            account = phone.account_for(item.app)
            if item.want_phone_id is not None:
                account = item.want_account_id
                named = account in phone.accounts.get(item.app, ())
                if phone.phone_id != item.want_phone_id or not named:
                    continue
            elif item.want_phone_group not in {None, *phone.groups}:
                continue
            if account is not None:
                end = phone.ends.get(account)
                if end is not None and NOON + timedelta(seconds=item.cap_seconds) > end:
                    continue
                again = item.want_phone_id is None and phone.phone_id == item.last_phone_id
                fits.append(((again, phone.phone_id in wanted, phone.phone_id), account))
        if fits:
            (_, _, phone_id), account = min(fits)
            del free[phone_id]
            pairs.append((item.item_id, phone_id, account))
    return pairs


@at_most(1500)
@given(_candidates(), _fleets())
def test_pairs_are_those_of_the_rules(waiting: list[Candidate], phones: list[FreePhone]) -> None:
    """Priority and age first; an open item avoids phones that are waited for, and its last.

    Nobody gets a phone whose window closes before the run's time limit.
    """
    pairs = match_items(waiting, phones, ready=NOON)

    found = [(pair.item_id, pair.phone_id, pair.account_id) for pair in pairs]
    assert found == _as_the_rules_say(waiting, phones)


def test_an_open_item_leaves_a_phone_that_is_waited_for_and_its_last_to_others() -> None:
    """Of three fit phones it gets the one that is neither."""
    phones = [
        FreePhone(phone_id=phone_id, agent_id="a", accounts={"x": (_ACCOUNTS[phone_id]["x"],)})
        for phone_id in PHONES
    ]
    fixed = {"process_id": "p", "priority": 5, "ordinal": 0, "app": "x", "want_phone_group": None}
    fixed |= {"cap_seconds": 60.0}
    opened = Candidate(
        item_id="open",
        created_at=NOON,
        want_phone_id=None,
        want_account_id=None,
        last_phone_id="ph-b",
        **fixed,  # type: ignore[arg-type] # each has its field's type
    )
    bound = Candidate(
        item_id="bound",
        created_at=NOON + timedelta(seconds=1),
        want_phone_id="ph-a",
        want_account_id="x-ph-a",
        last_phone_id=None,
        **fixed,  # type: ignore[arg-type] # each has its field's type
    )

    pairs = match_items([bound, opened], phones, ready=NOON)

    assert [(p.item_id, p.phone_id) for p in pairs] == [("open", "ph-c"), ("bound", "ph-a")]


def test_long_items_look_once_at_phones_that_soon_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one finds that no phone has time for it; a shorter one finds its phone."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    phones = [
        FreePhone(
            phone_id=f"p{n}",
            agent_id="a",
            accounts={"app": (f"acc{n}",)},
            ends={f"acc{n}": now + timedelta(minutes=10)},
        )
        for n in range(20)
    ]
    items = [
        Candidate(
            item_id=f"i{n}",
            process_id="p",
            priority=0,
            created_at=now,
            ordinal=n,
            app="app",
            want_phone_id=None,
            want_account_id=None,
            want_phone_group=None,
            last_phone_id=None,
            cap_seconds=3600.0 if n < 20 else 60.0,
        )
        for n in range(21)
    ]
    looks = []
    in_time = matching._FreePhones._in_time

    def counted(self: Any, *given: Any) -> bool:
        looks.append(given)
        return in_time(self, *given)

    monkeypatch.setattr(matching._FreePhones, "_in_time", counted)

    pairs = match_items(items, phones, ready=now)

    assert [pair.item_id for pair in pairs] == ["i20"]
    assert len(looks) == 20 + 1
