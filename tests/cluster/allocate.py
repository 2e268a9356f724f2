"""allocate.py URL SECRET: asks a TURN server for a relay, as a caller with the orchestrator's credential does."""

import asyncio
import sys

from aioice.stun import TransactionFailed
from aioice.turn import create_turn_endpoint

from antiphon_orchestrator.ice import IceServers


async def main(url: str, secret: str) -> None:
    (server,) = IceServers((url,), secret.encode()).now()
    host, _, port = url.removeprefix("turn:").rpartition(":")
    try:
        transport, _ = await create_turn_endpoint(
            asyncio.DatagramProtocol,
            server_addr=(host, int(port)),
            username=server.username,
            password=server.credential,
        )
    except TransactionFailed as refused:
        print(refused.response.attributes["ERROR-CODE"][0])
        return
    print("{}:{}".format(*transport.get_extra_info("sockname")))
    transport.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
