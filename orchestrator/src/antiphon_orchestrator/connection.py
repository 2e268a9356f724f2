"""A caller's peer connection, whose data channel leads to the door and to nothing of Pipecat's."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.request_handler import SmallWebRTCRequest, SmallWebRTCRequestHandler
from pipecat.transports.smallwebrtc.transport import RawAudioTrack

from .door import MAX_BYTES, Door
from .turns.playout import Playout

log = logging.getLogger(__name__)

# Messages that wait for their turn; what comes when they are so many is refused.
MOST_WAITING = 64
# Kept of a message that is too long, so that the door sees that it is.
KEPT = MAX_BYTES + 1


class CallerConnection(SmallWebRTCConnection):
    """One data channel at a time; its messages wait, bounded in number and length, until the door takes them.

    Pipecat's own handling of messages is replaced as a whole: it parses whatever comes, queues it without a bound while
    the caller is not connected, and passes everything on.
    """

    def __init__(self, **kwargs: Any) -> None:
        self._incoming: asyncio.Queue[str | bytes] = asyncio.Queue(MOST_WAITING)
        self._connected = asyncio.Event()
        self._door: Door | None = None
        self._playout: Playout | None = None
        self._agents_track: RawAudioTrack | None = None
        super().__init__(**kwargs)
        self.add_event_handler("connected", self._on_connected)
        self.add_event_handler("disconnected", self._on_lost)

    def is_connected(self) -> bool:
        """True between the connection's beginning and its end, also where no pings come.

        Pipecat's own takes a line whose last ping is 3 s old for lost, and throws the agent's audio away in no time.
        """
        return bool(self._connect_invoked) and self.pc.connectionState == "connected"

    @asynccontextmanager
    async def leading_to(self, door: Door, playout: Playout) -> AsyncIterator[None]:
        """The door takes the messages while the context lasts, from when the call has begun.

        The playout waits while the connection is made anew.
        """
        self._door, self._playout = door, playout
        taking = asyncio.create_task(self._take(door), name="data channel")
        try:
            yield
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)

    async def _take(self, door: Door) -> None:
        await self._connected.wait()
        while True:
            message = await self._incoming.get()
            try:
                status = await door.admit(message, signalling=True)
                if status:
                    await self._handle_signalling_message(status)
            except Exception:
                log.exception("a message on %s could not be taken", self.pc_id)  # the next ones are

    async def _on_connected(self, _: SmallWebRTCConnection) -> None:
        self._connected.set()

    async def _on_lost(self, _: SmallWebRTCConnection) -> None:
        if self._playout:
            self._playout.line_lost()
        self._let_go()

    def replace_audio_track(self, track: Any) -> None:
        """Send the agent's audio by another track, as after a restart."""
        self._let_go()
        self._agents_track = track
        super().replace_audio_track(track)
        if self._playout:
            self._playout.line_restored()

    def _let_go(self) -> None:
        """Nobody reads this track any more: Pipecat's transport would wait for it, and then give up for good."""
        track, self._agents_track = self._agents_track, None
        while track and track._chunk_queue:
            _, written = track._chunk_queue.popleft()
            if written and not written.done():
                written.set_result(True)

    def _setup_listeners(self) -> None:
        super()._setup_listeners()
        self._pc.remove_all_listeners("datachannel")
        self._pc.on("datachannel", self._on_channel)

    def _on_channel(self, channel: Any) -> None:
        if self._data_channel and self._data_channel.readyState == "open":
            self._refused("channel_not_allowed")
            channel.close()
            return
        self._data_channel = channel
        channel.on("message", self._on_message)
        if channel.readyState == "open":
            self._flush_message_queue()
        else:
            channel.on("open", self._flush_message_queue)

    def _on_message(self, message: str | bytes) -> None:
        if isinstance(message, str) and message.startswith("ping"):
            return  # Pipecat's clients send them; they need no answer and are no messages
        try:
            self._incoming.put_nowait(message[:KEPT])
        except asyncio.QueueFull:
            self._refused("too_many_messages")

    def _refused(self, reason: str) -> None:
        if self._door:
            self._door.count(reason)


class CallerRequests(SmallWebRTCRequestHandler):
    """Makes CallerConnections, and forgets the id of one that has been restarted."""

    async def handle_web_request(
        self,
        request: SmallWebRTCRequest,
        webrtc_connection_callback: Callable[[Any], Awaitable[None]],
    ) -> dict[str, str] | None:
        """Answer the offer of a new connection, which the callback gets, or of one that changes.

        A connection that cannot be made, or made anew, is disconnected: its peer cannot reach it any more.
        """
        known = self._pcs_map.get(request.pc_id) if request.pc_id else None
        if known:
            before = known.pc_id
            restart = bool(request.restart_pc)
            try:
                await known.renegotiate(sdp=request.sdp, type=request.type, restart_pc=restart)
            except BaseException:
                if restart:
                    await _closed(known)
                raise
            if known.pc_id != before:
                self._pcs_map.pop(before, None)
            connection = known
        else:
            connection = CallerConnection(ice_servers=self._ice_servers)
            connection.add_event_handler("closed", self._on_closed)
            try:
                await connection.initialize(sdp=request.sdp, type=request.type)
                await webrtc_connection_callback(connection)
            except BaseException:
                await _closed(connection)
                raise
        answer: dict[str, str] | None = connection.get_answer()
        if answer and connection.pc.connectionState != "closed":
            self._pcs_map[answer["pc_id"]] = connection
        return answer

    async def _on_closed(self, connection: SmallWebRTCConnection) -> None:
        for pc_id in [pc_id for pc_id, one in self._pcs_map.items() if one is connection]:  # a restart changes the id
            del self._pcs_map[pc_id]


async def _closed(connection: SmallWebRTCConnection) -> None:
    try:
        await connection.disconnect()
    except Exception:
        log.exception("connection %s could not be closed", connection.pc_id)
