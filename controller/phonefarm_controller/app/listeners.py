"""The ports for other hosts, from the settings: authority, names, certificates."""

import ipaddress
import socket

from phonefarm_common.channel import is_loopback
from phonefarm_common.config import shown_address

from phonefarm_controller.auth.ca import Authority, AuthorityBrokenError, open_authority
from phonefarm_controller.auth.enrollment import AdvertisedAddresses
from phonefarm_controller.rpc.server import Ports
from phonefarm_controller.rpc.tls import TlsListeners
from phonefarm_controller.settings import Settings
from phonefarm_controller.store.certificates import authority_or_new
from phonefarm_controller.store.database import Database


async def open_farm_authority(settings: Settings, database: Database) -> Authority | None:
    """Return the farm's authority, None without doors; AuthorityBrokenError for another farm's."""
    if settings.tls is None:
        return None
    place = settings.authority or settings.data / "ca"
    authority = open_authority(place)
    async with database.writing() as tx:
        known = await authority_or_new(tx, authority.fingerprint)
    if known != authority.fingerprint:
        raise AuthorityBrokenError(
            f"the certificate authority in {place} does not belong to the farm in this database, "
            f"whose certificate has the SHA-256 {known}: copy the farm's ca.pem and ca.key from "
            "another controller or from a backup"
        )
    return authority


def tls_listeners(settings: Settings, authority: Authority | None) -> TlsListeners | None:
    """Return where to listen for other hosts, and the certificates to present there."""
    if authority is None or settings.tls is None or settings.mtls is None:
        return None
    names = _names(settings)
    return TlsListeners(
        tls=settings.tls,
        mtls=settings.mtls,
        authority=authority.pem,
        new_identity=lambda: authority.serve_as(names),
    )


def advertised_addresses(settings: Settings, ports: Ports) -> AdvertisedAddresses | None:
    """Return where other hosts find the doors."""
    if not ports.mtls:
        return None
    name = _names(settings)[0]
    return AdvertisedAddresses(
        join=shown_address(name, ports.tls), controller=shown_address(name, ports.mtls)
    )


def _names(settings: Settings) -> list[str]:
    """Return what this host is called, the name for invitations first."""
    names = list(settings.names)
    for host, _ in filter(None, (settings.tls, settings.mtls)):
        names.append(socket.getfqdn() if _is_any(host) else host)
    if not all(is_loopback(host) for host, _ in filter(None, (settings.tls, settings.mtls))):
        names += ["localhost", "127.0.0.1"]
    return list(dict.fromkeys(names))


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
