"""Joins a farm and renews the certificate, for agents and gateways."""

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
import structlog
from phonefarm.v1 import join_pb2 as pb
from phonefarm.v1 import join_pb2_grpc

from phonefarm_common.backoff import backoff
from phonefarm_common.certificates import (
    Member,
    MemberBrokenError,
    invite_command,
    new_request,
    read_member,
    write_member,
)
from phonefarm_common.channel import ClientTls, open_channel
from phonefarm_common.clock import Clock
from phonefarm_common.ids import is_name
from phonefarm_common.join_tokens import InvitationError, decode_token
from phonefarm_common.timers import Timers

log = structlog.get_logger()

JOIN_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 2.0


class NotJoinedError(Exception):
    """The controller gave no certificate; the text says why and what to do."""


async def join(token: str, folder: Path, *, role: str, wanted: str = "") -> Member:
    """Join with *token* and keep the membership in *folder*; NotJoinedError.

    The key is made here and stays here. The token's secret is sent only to a server for which the
    authority in the token vouches. *wanted* is the name asked for where the token has none.
    """
    try:
        invitation = decode_token(token)
    except InvitationError as error:
        raise NotJoinedError(str(error)) from error
    if invitation.role != role:
        raise NotJoinedError(f"this invitation is for a {invitation.role}, not for a {role}")
    if wanted and invitation.member_id and wanted != invitation.member_id:
        raise NotJoinedError(
            f"this invitation is for {invitation.member_id}, not for {wanted}: leave "
            "the name out, or ask for another invitation"
        )
    authority = ssl.DER_cert_to_PEM_cert(invitation.authority)
    key, request = new_request()
    asked = pb.JoinRequest(secret=invitation.secret, request=request, member_id=wanted)
    async with open_channel(
        invitation.join, Timers(), ClientTls(authority=authority.encode())
    ) as channel:
        try:
            answer = await join_pb2_grpc.JoinServiceStub(channel).Join(asked, timeout=JOIN_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise NotJoinedError(_explain(error, invitation.join)) from error
    member = Member(
        role=role,
        member_id=answer.member_id,
        controller=_controllers(answer) or invitation.controller,
        authority=authority,
        certificate=answer.certificate,
        key=key,
    )
    _check_certificate(member, role)
    write_member(folder, member)
    return member


async def renew(member: Member, folder: Path, *, target: str) -> Member:
    """Renew the certificate at the controller *target*, and keep it in *folder*.

    NotJoinedError.
    """
    key, request = new_request()
    async with open_channel(target, Timers(), member.secured) as channel:
        stub = join_pb2_grpc.MemberServiceStub(channel)
        try:
            answer = await stub.Renew(pb.RenewRequest(request=request), timeout=JOIN_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise NotJoinedError(_explain(error, target)) from error
    renewed = Member(
        role=member.role,
        member_id=member.member_id,
        controller=_controllers(answer) or member.controller,
        authority=member.authority,
        certificate=answer.certificate,
        key=key,
    )
    _check_certificate(renewed, member.role)
    write_member(folder, renewed)
    return renewed


async def wait_for_replacement(
    used: Member, folder: Path, *, targets: Sequence[str], clock: Clock, scale: float
) -> None:
    """Renew the certificate in time; return once *folder* holds another one than *used*.

    The controllers at *targets* are asked in turn.
    """
    failures = 0
    while True:
        if await asyncio.to_thread(_is_replaced, used, folder):
            return
        pause = LOOK_SECONDS
        if clock.now() >= used.facts.renewal_due_at:
            try:
                renewed = await renew(used, folder, target=targets[failures % len(targets)])
            except (NotJoinedError, OSError) as error:
                failures += 1
                pause = backoff(failures, first=LOOK_SECONDS, most=60)
                log.warning("certificate.not_renewed", error=str(error), failures=failures)
            else:
                log.info("certificate.renewed", ends=renewed.facts.ends.isoformat())
                return
        await asyncio.sleep(pause * scale)


def expiry_remedy(used: Member, clock: Clock) -> str:
    """Return what to do about an expired certificate, empty while it is valid."""
    facts = used.facts
    if clock.now() < facts.ends:
        return ""
    return (
        f"the certificate expired at {facts.ends:%Y-%m-%d %H:%MZ}: run "
        f"{invite_command(used.role, used.member_id)} at the controller, then "
        f"`phonefarm-{used.role} join TOKEN` on this host"
    )


def _is_replaced(used: Member, folder: Path) -> bool:
    try:
        kept = read_member(folder)
    except (MemberBrokenError, OSError) as error:
        log.warning("certificate.unreadable", error=str(error))
        return False
    return kept is not None and kept.certificate != used.certificate


def _controllers(answer: pb.Membership) -> str:
    """Return the controllers that the answer names, empty for none."""
    return ",".join(answer.controllers)


def _check_certificate(member: Member, role: str) -> None:
    try:
        facts = member.facts
    except ValueError as error:
        raise NotJoinedError(f"the controller sent no certificate: {error}") from error
    if (facts.role, facts.member_id) != (role, member.member_id) or not is_name(member.member_id):
        raise NotJoinedError(f"the controller sent the certificate of {facts.member_id}")


def _explain(error: grpc.aio.AioRpcError, target: str) -> str:
    told = error.details() or error.code().name
    if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
        return (
            f"{target} did not answer, or is not the controller of this farm; the "
            f"token's secret was sent to nobody ({told})"
        )
    return f"{target} refused: {told}"
