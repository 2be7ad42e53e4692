"""TURN as a browser's ICE library speaks it (aioice): exchanges data through a relay, and is refused where it must be.

Reads one JSON object on standard input: server, port, transport (udp, tcp or tls), authority (a PEM file that is trusted, or
null), secret, peer (an address of this machine), denied (addresses). Writes one JSON object: what each check came to.
"""

import asyncio
import json
import ssl
import sys

from aioice import stun, turn

from rest import credentials

PACKETS = 20
PATIENCE = 5.0
OPEN = b"open"


class Inbox(asyncio.DatagramProtocol):
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue = asyncio.Queue()

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address) -> None:
        self.arrived.put_nowait((data, address[:2]))

    async def next(self):
        return await asyncio.wait_for(self.arrived.get(), PATIENCE)


def encryption(task: dict) -> ssl.SSLContext | None:
    """Of TLS. The certificate must be the authority's, and for the address that is connected to."""
    return ssl.create_default_context(cafile=task["authority"]) if task["transport"] == "tls" else None


async def allocation(task: dict, expires_in: int = 600):
    username, password = credentials(task["secret"], "aioice", expires_in)
    server, transport = (task["server"], task["port"]), "udp" if task["transport"] == "udp" else "tcp"
    return await turn.create_turn_endpoint(
        Inbox, server, username, password, ssl=encryption(task), transport=transport
    )


async def connected(task: dict) -> turn.TurnClientProtocol:
    """An allocation whose single steps can be waited for."""
    username, password = credentials(task["secret"], "aioice")
    server = (task["server"], task["port"])
    settings = {"username": username, "password": password, "lifetime": 600, "channel_refresh_time": 500}
    loop = asyncio.get_running_loop()
    if task["transport"] == "udp":
        _, client = await loop.create_datagram_endpoint(
            lambda: turn.TurnClientUdpProtocol(server, **settings), remote_addr=server
        )
    else:
        _, client = await loop.create_connection(
            lambda: turn.TurnClientTcpProtocol(server, **settings), *server, ssl=encryption(task)
        )
    client.receiver = Inbox()
    await client.connect()
    return client


async def exchanges_data_with_a_peer(task: dict) -> dict:
    """Both ways; the peer must see the relayed address, and the client the peer's."""
    loop = asyncio.get_running_loop()
    outside, peer = await loop.create_datagram_endpoint(Inbox, local_addr=(task["peer"], 0))
    relay, client = await allocation(task)
    try:
        relayed, peer_address = relay.get_extra_info("sockname"), outside.get_extra_info("sockname")[:2]
        there = back = 0
        for number in range(PACKETS):
            payload = b"packet %d" % number
            relay.sendto(payload, peer_address)
            there += await peer.next() == (payload, relayed)
            outside.sendto(payload, relayed)
            back += await client.next() == (payload, peer_address)
        return {"sent": PACKETS, "there": there, "back": back}
    finally:
        relay.close()
        outside.close()


async def relays_between_two_callers_of_one_node(task: dict) -> dict:
    """Each has the other's relayed address for a peer: a call that is relayed on both sides."""
    one, two = await connected(task), await connected(task)
    try:
        # Opens the first door. The second is still closed or just opening, so this packet may be dropped.
        await one.send_data(OPEN, two.relayed_address)
        there = back = 0
        for number in range(PACKETS):
            payload = b"packet %d" % number
            await two.send_data(payload, one.relayed_address)
            back += await one.receiver.next() == (payload, two.relayed_address)
            await one.send_data(payload, two.relayed_address)
            arrived = await two.receiver.next()
            if arrived[0] == OPEN:
                arrived = await two.receiver.next()
            there += arrived == (payload, one.relayed_address)
        return {"sent": PACKETS, "there": there, "back": back}
    finally:
        await one.delete()
        await two.delete()


async def code_of(refused) -> int:
    """The error code that something is refused with, 0 when it is not."""
    try:
        relay, _ = await refused
    except stun.TransactionFailed as error:
        return error.response.attributes["ERROR-CODE"][0]
    relay.close()
    return 0


async def wrong_password(task: dict) -> int:
    return await code_of(allocation({**task, "secret": task["secret"] + "x"}))


async def expired_username(task: dict) -> int:
    return await code_of(allocation(task, expires_in=-60))


async def denied_peer(task: dict, peer: str) -> int:
    client = await connected(task)
    try:
        await client.channel_bind(0x4000, (peer, 5000))
        return 0
    except stun.TransactionFailed as error:
        return error.response.attributes["ERROR-CODE"][0]
    finally:
        await client.delete()


async def main() -> dict:
    task = json.load(sys.stdin)
    return {
        "exchange": await exchanges_data_with_a_peer(task),
        "betweenCallers": await relays_between_two_callers_of_one_node(task),
        "wrongPassword": await wrong_password(task),
        "expiredUsername": await expired_username(task),
        "deniedPeers": {peer: await denied_peer(task, peer) for peer in task["denied"]},
    }


json.dump(asyncio.run(main()), sys.stdout)
