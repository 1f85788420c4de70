"""Commands about the network: ifconfig, ip and nc."""

import asyncio

from phonefarm_simulator.adb_stream import Stream, StreamClosedError
from phonefarm_simulator.commands.call import Call, Table

INTERFACE = "wlan0"
LOCAL = {"localhost", "127.0.0.1"}


async def ifconfig(call: Call) -> int:
    """Print the interface and its address, as toybox does."""
    if call.arguments and call.arguments[0] != INTERFACE:
        return await call.complain(f"ifconfig: {call.arguments[0]}: No such device")
    await call.say(
        f"{INTERFACE}     Link encap:Ethernet  HWaddr 02:00:00:00:00:01  Driver sim\n"
        f"          inet addr:{call.phone.wifi_address}  Bcast:192.168.255.255  "
        "Mask:255.255.0.0\n"
        "          UP BROADCAST RUNNING MULTICAST  MTU:1500  Metric:1"
    )
    return 0


async def ip(call: Call) -> int:
    """Print the address (`ip addr show`) or the route (`ip route`)."""
    address = call.phone.wifi_address
    words = [word for word in call.arguments if not word.startswith("-")]
    if words[:1] in (["route"], ["r"]):
        await call.say(f"192.168.0.0/16 dev {INTERFACE} proto kernel scope link src {address}")
        return 0
    if words[:1] not in (["addr"], ["address"], ["a"]):
        return await call.complain("ip: only addr and route are known here")
    if words[-1] not in {"addr", "address", "a", "show", INTERFACE}:
        return await call.complain(f'Device "{words[-1]}" does not exist.')
    await call.say(
        f"23: {INTERFACE}: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq state UP\n"
        "    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff\n"
        f"    inet {address}/16 brd 192.168.255.255 scope global {INTERFACE}\n"
        "       valid_lft forever preferred_lft forever"
    )
    return 0


async def nc(call: Call) -> int:
    """Connect to a port that `adb reverse` has opened on the phone, and copy both ways."""
    match call.arguments:
        case [host, port] if host in LOCAL and f"tcp:{port}" in call.phone.reversed:
            dial = call.phone.reversed[f"tcp:{port}"]
        case [host, _]:
            return await call.complain(f"nc: connect {host}: Connection refused")
        case _:
            return await call.complain("nc: needs a host and a port")
    try:
        stream = await dial()
    except StreamClosedError:
        return 0  # the phone's own port was open: what is behind it was not
    sending = asyncio.create_task(_send(call, stream))
    try:
        while data := await stream.read():
            await call.write_out(data)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    return 0


async def _send(call: Call, stream: Stream) -> None:
    while data := await call.stdin.read():
        await stream.write(data)


COMMANDS: Table = {"ifconfig": ifconfig, "ip": ip, "nc": nc}
