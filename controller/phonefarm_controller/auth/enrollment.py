"""Enrollment: invite a host, let it join once, renew its certificate, revoke it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from phonefarm_common.certificates import ROLES, CertificateFacts, invite_command
from phonefarm_common.ids import is_name, new_id, new_secret
from phonefarm_common.join_tokens import Invitation, encode_token
from phonefarm_common.reasons import FarmError, Reason

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.auth.ca import Authority, IssuedCertificate, RequestRefusedError
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.scopes import digest_of
from phonefarm_controller.store import agents, audit, certificates
from phonefarm_controller.store.certificates import Certificate, StoredInvitation
from phonefarm_controller.store.database import Database, Transaction

log = structlog.get_logger()

LIFE: Final = timedelta(hours=24)
GOOD_FOR: Final = timedelta(minutes=15)
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class AdvertisedAddresses:
    """Where hosts find this controller: HOST:PORT before they have a certificate, and with one."""

    join: str
    controller: str


@dataclass(frozen=True, kw_only=True)
class JoinToken:
    """An invitation's text, which is shown only now."""

    text: str
    expires_at: datetime


class Enrollment:
    """The members of this farm. A certificate is asked for at each call: a revocation counts."""

    def __init__(
        self,
        *,
        database: Database,
        sessions: Sessions,
        authority: Authority | None,
        doors: Callable[[], AdvertisedAddresses | None],
        life: timedelta = LIFE,
    ) -> None:
        """Take the farm's authority; None where no other host may join."""
        self._database = database
        self._sessions = sessions
        self._authority = authority
        self._doors = doors
        self._life = life

    @uninterrupted
    async def invite(
        self, role: str, member_id: str, *, good_for: timedelta, actor: str, reason: str = ""
    ) -> JoinToken:
        """Return a token with which one host joins; FarmError `joining_closed`."""
        authority, doors = self._open()
        _check_role(role)
        if member_id and not is_name(member_id):
            raise invalid_field("member_id", "must be 1 to 128 characters from A-Z a-z 0-9 . _ : -")
        if not SHORTEST <= good_for <= LONGEST:
            raise invalid_field("good_for_seconds", "must be 60 to 86,400")
        secret = new_secret()
        async with self._database.writing() as tx:
            kept = StoredInvitation(
                invitation_id=new_id(),
                role=role,
                member_id=member_id,
                created_at=tx.now,
                created_by=actor,
                expires_at=tx.now + good_for,
            )
            await certificates.invite(tx, kept, digest=digest_of(secret))
            await _note(
                tx, actor=actor, verb=f"invite {role}", subject=member_id, reason=reason.strip()
            )
        log.info("member.invited", role=role, member_id=member_id, by=actor)
        invitation = Invitation(
            role=role,
            member_id=member_id,
            join=doors.join,
            controller=doors.controller,
            authority=authority.der,
            secret=secret,
        )
        return JoinToken(text=encode_token(invitation), expires_at=kept.expires_at)

    @uninterrupted
    async def join(
        self, secret: str, request: bytes, *, wanted: str
    ) -> tuple[CertificateFacts, str]:
        """Exchange the secret for a certificate (its facts, PEM); FarmError.

        One transaction uses the invitation up and keeps the certificate: refused, it stays open.
        """
        authority, _ = self._open()
        async with self._database.writing() as tx:
            invited = await certificates.use_if_open(tx, digest_of(secret))
            if invited is None:
                log.warning("member.join_refused", wanted=wanted[:128])
                raise FarmError(
                    Reason.INVITATION_REFUSED,
                    (
                        "the invitation is unknown, has already been used, or has expired: run "
                        "`phonefarm agents invite` or `phonefarm gateways invite` to get another"
                    ),
                )
            member_id = invited.member_id or wanted
            if not is_name(member_id) or (wanted and wanted != member_id):
                raise invalid_field(
                    "member_id", f"must be {invited.member_id or 'a name'}; set it with --name"
                )
            if not invited.member_id:
                await _check_new(tx, invited.role, member_id)
            # Who is invited by name takes the place of whoever has it.
            await certificates.revoke_live(tx, role=invited.role, member_id=member_id)
            if invited.role == "agent":
                await agents.reset_identity(tx, member_id)
            issued = await self._issue(tx, authority, request, invited.role, member_id)
            await _note(
                tx,
                actor=invited.created_by,
                verb=f"join {invited.role}",
                subject=member_id,
                reason=f"invitation {invited.invitation_id}",
            )
        self._cut(invited.role, member_id)
        log.info(
            "member.joined",
            role=invited.role,
            member_id=member_id,
            invitation_id=invited.invitation_id,
            serial=issued.facts.serial,
        )
        return issued.facts, issued.pem

    @uninterrupted
    async def renew(self, shown: CertificateFacts, request: bytes) -> tuple[CertificateFacts, str]:
        """Issue another certificate to the member that *shown*, which is valid, names."""
        authority, _ = self._open()
        async with self._database.writing() as tx:
            # Asked again in the transaction: a revocation that comes first must not be outlived.
            if not await _counts(tx, shown):
                raise _refused(shown)
            issued = await self._issue(tx, authority, request, shown.role, shown.member_id)
        log.info("member.renewed", role=shown.role, member_id=shown.member_id)
        return issued.facts, issued.pem

    @uninterrupted
    async def revoke(self, role: str, member_id: str, *, actor: str, reason: str = "") -> int:
        """End every certificate of the member, and its session; return how many counted."""
        _check_role(role)
        async with self._database.writing() as tx:
            if not await certificates.known(tx, role=role, member_id=member_id):
                raise FarmError(
                    Reason.UNKNOWN_MEMBER,
                    f"the {role} {member_id[:128]} has never had a certificate",
                    detail=member_id[:128],
                )
            ended = await certificates.revoke_live(tx, role=role, member_id=member_id)
            if role == "agent":
                await agents.end_session(tx, member_id)
            await _note(
                tx, actor=actor, verb=f"revoke {role}", subject=member_id, reason=reason.strip()
            )
        self._cut(role, member_id)
        log.info("member.revoked", role=role, member_id=member_id, by=actor, certificates=ended)
        return ended

    @uninterrupted
    async def check(self, shown: CertificateFacts) -> None:
        """Raise FarmError `certificate_refused` unless the certificate counts now."""
        async with self._database.reading() as tx:
            if not await _counts(tx, shown):
                raise _refused(shown)

    @uninterrupted
    async def certificate_ends(self, *, role: str) -> dict[str, datetime]:
        """Return until when each member of the role, `agent` or `gateway`, has a certificate."""
        async with self._database.reading() as tx:
            return await certificates.last_ends(tx, role=role)

    def _open(self) -> tuple[Authority, AdvertisedAddresses]:
        doors = self._doors()
        if self._authority is None or doors is None:
            raise FarmError(
                Reason.JOINING_CLOSED,
                (
                    "this controller does not listen for other hosts: start it with "
                    "--tls-listen and --mtls-listen"
                ),
            )
        return self._authority, doors

    async def _issue(
        self, tx: Transaction, authority: Authority, request: bytes, role: str, member_id: str
    ) -> IssuedCertificate:
        try:
            issued = authority.issue(request, role=role, member_id=member_id, life=self._life)
        except RequestRefusedError as error:
            raise invalid_field("request", str(error)) from error
        certificate = Certificate(
            serial=issued.facts.serial,
            role=role,
            member_id=member_id,
            issued_at=tx.now,
            expires_at=issued.facts.ends,
        )
        await certificates.keep_certificate(tx, certificate)
        return issued

    def _cut(self, role: str, member_id: str) -> None:
        session = self._sessions.of(member_id) if role == "agent" else None
        if session is not None:
            session.closed.set()


async def _counts(tx: Transaction, shown: CertificateFacts) -> bool:
    return await certificates.counts(
        tx, serial=shown.serial, role=shown.role, member_id=shown.member_id
    )


async def _check_new(tx: Transaction, role: str, member_id: str) -> None:
    """Refuse a name that somebody has had: only an invitation that names it gives it away."""
    had = await certificates.known(tx, role=role, member_id=member_id)
    if had or (role == "agent" and await agents.get(tx, {member_id})):
        raise FarmError(
            Reason.MEMBER_ID_TAKEN,
            (
                f"the {role} {member_id} already exists: choose another name, or invite this host "
                f"by its name (--agent-id {member_id})"
            ),
            detail=member_id,
        )


async def _note(tx: Transaction, *, actor: str, verb: str, subject: str, reason: str = "") -> None:
    await audit.note(tx, audit_id=new_id(), actor=actor, verb=verb, subject=subject, reason=reason)


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise invalid_field("role", f"must be one of: {', '.join(sorted(ROLES))}")


def _refused(shown: CertificateFacts) -> FarmError:
    return FarmError(
        Reason.CERTIFICATE_REFUSED,
        (
            f"the certificate of {shown.role} {shown.member_id} was revoked or has expired: join "
            f"again with a new invitation ({invite_command(shown.role, shown.member_id)})"
        ),
        detail=shown.member_id,
    )
