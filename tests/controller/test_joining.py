"""Joining over real sockets: invitations, certificates, roles, renewal, revocation."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from phonefarm.v1 import (
    access_pb2,
    access_pb2_grpc,
    agent_pb2,
    agent_pb2_grpc,
    callback_pb2,
    callback_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    join_pb2,
    join_pb2_grpc,
)
from phonefarm_common.certificates import (
    Member,
    MemberBrokenError,
    new_request,
    read_member,
    write_member,
)
from phonefarm_common.channel import ClientTls, bearer, open_channel
from phonefarm_common.enrollment import NotJoinedError, join, renew
from phonefarm_common.ids import PROTOCOL_VERSION
from phonefarm_common.join_tokens import Invitation, InvitationError, decode_token, encode_token
from phonefarm_common.timers import Timers
from phonefarm_controller.auth.ca import AuthorityBrokenError, open_authority
from phonefarm_controller.store.schema.access import invitations
from sqlalchemy import update
from support.controller import KEY, PATIENCE, Farm, farm_on, told

DOORS: dict[str, Any] = {"tls": ("127.0.0.1", 0), "mtls": ("127.0.0.1", 0)}


@asynccontextmanager
async def _farm(place: Path, **more: Any) -> AsyncIterator[Farm]:
    url = f"sqlite:///{place / 'farm.db'}"
    async with farm_on(url, place, **(DOORS | more)) as farm:
        yield farm


async def _invite(farm: Farm, member_id: str = "", role: str = "agent") -> str:
    access = access_pb2_grpc.AccessServiceStub(farm.channel)
    request = access_pb2.InviteRequest(role=role, member_id=member_id)
    answer = await access.Invite(request, metadata=bearer(KEY))
    token: str = answer.token
    return token


async def _revoke(farm: Farm, member_id: str) -> int:
    access = access_pb2_grpc.AccessServiceStub(farm.channel)
    request = access_pb2.RevokeMemberRequest(role="agent", member_id=member_id)
    answer = await access.RevokeMember(request, metadata=bearer(KEY))
    ended: int = answer.certificates
    return ended


@asynccontextmanager
async def _session(member: Member, agent_id: str) -> AsyncIterator[Any]:
    """Open a session as this member, under any name, and say hello."""
    async with open_channel(member.controller, Timers(), member.secured) as channel:
        stub: Any = agent_pb2_grpc.AgentServiceStub(channel)
        call = stub.Session()
        hello = agent_pb2.Hello(
            agent_id=agent_id,
            boot_id="boot",
            incarnation=1,
            protocol_version=PROTOCOL_VERSION,
            time_scale=0.05,
        )
        await call.write(agent_pb2.AgentMessage(hello=hello))
        yield call
        call.cancel()


async def _refusal(member: Member, agent_id: str) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:  # to the hello or to what follows it
        async with _session(member, agent_id) as call:
            await call.read()
    return told(refused)[0]


async def test_a_host_joins_and_is_who_its_certificate_says(tmp_path: Path) -> None:
    """One word is all it is given; the session is opened under the certificate's name."""
    async with _farm(tmp_path) as farm:
        token = await _invite(farm, "host-1")

        member = await join(token, tmp_path / "host", role="agent")

        async with _session(member, "") as call:
            assert (await call.read()).WhichOneof("body") == "welcome"
            listed = await farm.fleet.ListAgents(
                fleet_pb2.ListAgentsRequest(), metadata=bearer(KEY)
            )
    assert read_member(tmp_path / "host") == member
    assert (tmp_path / "host" / "member.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ca" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert [agent.agent_id for agent in listed.agents] == ["host-1"]
    until = listed.agents[0].certificate_expires_at.ToDatetime(tzinfo=UTC)
    left = until - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)


async def test_of_two_that_use_a_token_at_once_one_joins(tmp_path: Path) -> None:
    """The token is one host's, however close together they come."""
    async with _farm(tmp_path) as farm:
        token = await _invite(farm)

        came = await asyncio.gather(
            *(join(token, tmp_path / n, role="agent", wanted=n) for n in ("one", "two")),
            return_exceptions=True,
        )

    assert sum(isinstance(each, NotJoinedError) for each in came) == 1
    assert sum(isinstance(each, Member) for each in came) == 1


async def test_a_token_that_is_over_lets_nobody_in(tmp_path: Path) -> None:
    """Fifteen minutes later the same word is worth nothing, and the host is told what to do."""
    async with _farm(tmp_path) as farm:
        token = await _invite(farm, "host-1")
        async with farm.controller.database.writing() as tx:
            ago = tx.now - timedelta(seconds=1)
            await tx.connection.execute(update(invitations).values(expires_at=ago))

        with pytest.raises(NotJoinedError, match="to get another"):
            await join(token, tmp_path / "host", role="agent")

    assert read_member(tmp_path / "host") is None


async def test_a_refused_request_does_not_use_the_token_up(tmp_path: Path) -> None:
    """Bytes that are no request, an RSA-less guess, a name that is taken: the token stays good."""
    async with _farm(tmp_path) as farm:
        await join(await _invite(farm, "taken"), tmp_path / "first", role="agent")
        token = await _invite(farm)
        invitation = decode_token(token)
        good = new_request()[1]
        hostile = [
            b"",
            b"\0" * 5000,
            os.urandom(300),
            good[:-5],
            good[:60] + b"\xff" * 40,
            good * 2,
        ]
        trusted = ClientTls(authority=(tmp_path / "ca" / "ca.pem").read_bytes())
        async with open_channel(invitation.join, Timers(), trusted) as channel:
            stub = join_pb2_grpc.JoinServiceStub(channel)
            for request in hostile:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stub.Join(
                        join_pb2.JoinRequest(
                            secret=invitation.secret, request=request, member_id="host-2"
                        )
                    )
                assert told(refused) == ("invalid_request", ["request"])
        with pytest.raises(NotJoinedError, match="taken already exists"):
            await join(token, tmp_path / "host", role="agent", wanted="taken")
        with pytest.raises(NotJoinedError, match="set it with --name"):
            await join(token, tmp_path / "host", role="agent")

        member = await join(token, tmp_path / "host", role="agent", wanted="host-2")

    assert member.member_id == "host-2"


async def test_the_secret_is_not_sent_to_another_authoritys_server(tmp_path: Path) -> None:
    """Who is not vouched for by the authority in the token never reads the first byte of a call."""
    async with _farm(tmp_path / "real") as real, _farm(tmp_path / "false") as false:
        invitation = decode_token(await _invite(real, "host-1"))
        port = false.controller.tls_port
        led_astray = encode_token(replace(invitation, join=f"127.0.0.1:{port}"))

        with pytest.raises(NotJoinedError, match="not the controller of this farm"):
            await join(led_astray, tmp_path / "host", role="agent")

        await join(encode_token(invitation), tmp_path / "host", role="agent")


@pytest.mark.parametrize(
    "hurt", [lambda t: t[:-1], lambda t: t[4:], lambda t: t[:90] + "A" + t[91:]]
)
async def test_a_cut_or_mistyped_token_is_told_apart(
    hurt: Callable[[str], str], tmp_path: Path
) -> None:
    """The checksum says so before anything is dialled."""
    authority = open_authority(tmp_path / "ca")
    token = encode_token(
        Invitation(
            role="agent",
            member_id="h",
            join="h:1",
            controller="h:2",
            authority=authority.der,
            secret="s" * 43,
        )
    )
    assert decode_token(token).secret == "s" * 43

    with pytest.raises(InvitationError):
        decode_token(hurt(token))


async def test_only_those_with_a_certificate_get_through_the_second_door(tmp_path: Path) -> None:
    """Without one, or with one that only servers may show, there is not even a handshake."""
    async with _farm(tmp_path) as farm:
        authority = open_authority(tmp_path / "ca")
        server = authority.serve_as(["127.0.0.1"])
        shown = [
            ClientTls(authority=authority.pem),
            ClientTls(authority=authority.pem, certificate=server.certificate, key=server.key),
        ]
        for secured in shown:
            target = f"127.0.0.1:{farm.controller.mtls_port}"
            async with open_channel(target, Timers(), secured) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await fleet_pb2_grpc.FleetServiceStub(channel).ListAgents(
                        fleet_pb2.ListAgentsRequest(), metadata=bearer(KEY)
                    )
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_is_good_for_its_role_and_name_alone(tmp_path: Path) -> None:
    """An agent is no gateway, no operator and no other agent; a gateway is no agent."""
    async with _farm(tmp_path) as farm:
        agent = await join(await _invite(farm, "host-1"), tmp_path / "a", role="agent")
        gateway = await join(await _invite(farm, "gw-1", "gateway"), tmp_path / "g", role="gateway")
        lease = callback_pb2.LeaseDeliveriesRequest(gateway_id="gw", limit=1)
        async with open_channel(agent.controller, Timers(), agent.secured) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as no_gateway:
                await callback_pb2_grpc.CallbackServiceStub(channel).LeaseDeliveries(lease)
            with pytest.raises(grpc.aio.AioRpcError) as no_caller:
                await fleet_pb2_grpc.FleetServiceStub(channel).ListAgents(
                    fleet_pb2.ListAgentsRequest(), metadata=bearer(KEY)
                )
        async with open_channel(gateway.controller, Timers(), gateway.secured) as channel:
            answer = await callback_pb2_grpc.CallbackServiceStub(channel).LeaseDeliveries(lease)
            listed = await fleet_pb2_grpc.FleetServiceStub(channel).ListAgents(
                fleet_pb2.ListAgentsRequest(), metadata=bearer(KEY)
            )

        assert await _refusal(agent, "host-2") == "agent_id_not_yours:host-1"
        assert await _refusal(gateway, "gw-1") == "role_not_allowed:gateway"
    assert told(no_gateway)[0] == "role_not_allowed:agent"
    assert told(no_caller)[0] == "role_not_allowed:agent"
    assert list(answer.deliveries) == []
    assert list(listed.agents) == []
    with pytest.raises(NotJoinedError, match="for a gateway"):
        await join(
            encode_token(
                Invitation(
                    role="gateway",
                    member_id="",
                    join="h:1",
                    controller="h:1",
                    authority=b"x",
                    secret="s",
                )
            ),
            tmp_path / "x",
            role="agent",
        )


async def test_a_revoked_agent_is_out_at_once_and_for_good(tmp_path: Path) -> None:
    """The stream ends, the next is refused, renewal too; a new invitation of its name heals it."""
    async with _farm(tmp_path) as farm:
        member = await join(await _invite(farm, "host-1"), tmp_path / "a", role="agent")
        async with _session(member, "host-1") as call:
            assert (await call.read()).WhichOneof("body") == "welcome"

            assert await _revoke(farm, "host-1") == 1

            async with asyncio.timeout(PATIENCE):
                while isinstance(await call.read(), agent_pb2.ControllerMessage):
                    continue
        assert await _refusal(member, "host-1") == "certificate_refused:host-1"
        with pytest.raises(NotJoinedError, match="join again with a new invitation"):
            await renew(member, tmp_path / "a", target=member.controller)
        with pytest.raises(NotJoinedError, match="already exists"):
            await join(await _invite(farm), tmp_path / "a", role="agent", wanted="host-1")

        again = await join(await _invite(farm, "host-1"), tmp_path / "a", role="agent")
        async with _session(again, "host-1") as call:
            assert (await call.read()).WhichOneof("body") == "welcome"
        assert await _refusal(member, "host-1") == "certificate_refused:host-1"


async def test_a_certificate_renews_itself_and_ends(tmp_path: Path) -> None:
    """The old one buys the new one while it counts; past its end nobody takes it."""
    async with _farm(tmp_path, certificate_life=timedelta(seconds=3)) as farm:
        old = await join(await _invite(farm, "host-1"), tmp_path / "a", role="agent")

        new = await renew(old, tmp_path / "a", target=old.controller)

        assert read_member(tmp_path / "a") == new
        assert new.key != old.key
        assert new.facts.ends > old.facts.ends or new.facts.serial != old.facts.serial
        async with _session(new, "host-1") as call:
            assert (await call.read()).WhichOneof("body") == "welcome"
        async with asyncio.timeout(PATIENCE):
            while datetime.now(UTC) <= new.facts.ends:  # noqa: ASYNC110 - a wall clock has no event
                await asyncio.sleep(0.1)
        with pytest.raises(NotJoinedError):
            await renew(new, tmp_path / "a", target=new.controller)


async def test_an_authority_of_another_farm_is_refused(tmp_path: Path) -> None:
    """A second controller with a directory of its own would split the farm: it does not start."""
    async with _farm(tmp_path):
        pass

    with pytest.raises(AuthorityBrokenError, match=r"copy the farm's ca\.pem and ca\.key"):
        async with _farm(tmp_path, authority=tmp_path / "other"):
            pass


async def test_a_membership_that_is_none_is_named(tmp_path: Path) -> None:
    """A file from a broken disk does not become an agent without a name."""
    member = Member(
        role="agent", member_id="a", controller="h:1", authority="", certificate="x", key="k"
    )
    write_member(tmp_path, member)

    with pytest.raises(MemberBrokenError, match="join with a new invitation"):
        read_member(tmp_path)


async def test_plaintext_is_refused_beyond_loopback(tmp_path: Path) -> None:
    """The port without TLS listens on this machine alone, whatever it is told."""
    url = f"sqlite:///{tmp_path / 'farm.db'}"
    with pytest.raises(ExceptionGroup) as refused:
        async with farm_on(url, tmp_path, host="0.0.0.0"):  # noqa: S104 - what must not work
            pass

    assert refused.group_contains(ValueError, match="plaintext gRPC is for loopback only")
