"""An IO channel until its link is ready: connecting, shaking hands, and failing to."""

import logging
from abc import abstractmethod
from typing import Any, Final

import trio

from pytofu.engine.context import Channel, GroupContext
from pytofu.engine.readiness import Source
from pytofu.links.base import Link, LinkError, Wait
from pytofu.links.by_scheme import begin_connect, connect
from pytofu.protocol.conversation import Conversation
from pytofu.protocol.ending import Cause
from pytofu.values.address import Address, UDSClientAddress
from pytofu.values.message import Message
from pytofu.values.peer_info import PeerInfo
from pytofu.values.status import AmpeError

log: Final = logging.getLogger("pytofu")


class OpeningChannel(Channel, Source):
    """Has an address to connect to, or a link that was accepted."""

    __slots__ = ("_address", "_link", "_open", "_opening", "conversation")

    def __init__(
        self,
        group: GroupContext,
        conversation: Conversation,
        address: Address | None,
        link: Link | None,
    ) -> None:
        super().__init__(group)
        # A slot in place of the property: quicker, and read only all the same.
        self.conversation: Conversation = conversation  # pyright: ignore[reportIncompatibleMethodOverride]
        self._address = address
        self._link: Link | None = link  # None until there is one, and once it is closed
        self._open = False  # whether it is ready for data
        self._opening: trio.CancelScope | None = None  # of the task that makes the link, if any

    @abstractmethod
    def _link_is_ready(self) -> None:
        """Data may go both ways now."""

    @abstractmethod
    def _settle(self) -> None:
        """Draw the consequences of what has happened to the conversation."""

    def open_with(self, message: Message) -> None:
        """Queue the HelloRequest; connecting begins with the next `work`."""
        self.conversation.message_id = message.message_id
        self.conversation.writer.push(message)

    def start(self) -> None:
        """Begin to live: the channel has its number."""
        self.conversation.number = self.number
        if self._link is not None:
            self._link.on_ready(self._wake)
            self._go_on_opening()
        self._settle()

    @property
    def _settings(self) -> dict[str, Any]:
        options = self.group.options
        return {"settings": options.tcp_settings, "context": options.tls_client}

    def _begin_connect(self) -> None:
        assert self._address is not None
        begun = begin_connect(self._address, **self._settings)
        if begun is None:
            self._opening = scope = trio.CancelScope()
            self.group.start(lambda: self._connect_in_task(scope))
        else:
            self._connected(begun)

    async def _connect_in_task(self, scope: trio.CancelScope) -> None:
        assert self._address is not None
        with scope:
            try:
                begun = await connect(self._address, **self._settings)
                self._connected(begun)
                self._settle()
            except Exception:
                self.on_defect()

    def _connected(self, begun: Link | LinkError) -> None:
        if isinstance(begun, LinkError):
            self._not_connected(begun)
        elif self.conversation.ending is not None:  # while the task was on its way back
            begun.close(reset=True)
        else:
            self._link = begun
            begun.on_ready(self._wake)
            self._go_on_opening()

    def _go_on_opening(self) -> None:
        link = self._link
        assert link is not None
        match link.open():
            case None:
                accepted = self._address is None
                if accepted and link.has_handshake and not self.group.admission.wants(link):
                    self.conversation.end(Cause.NOT_WANTED)
                if self.conversation.ending is not None:  # possibly by what the program did
                    return
                self._open = True
                self.conversation.link_opened(trio.current_time())
                self._link_is_ready()
                if link.buffered:
                    self._wake()
            case Wait() as wait:
                reading = wait is Wait.READABLE
                self.group.readiness.watch(self, read=reading, write=not reading)
            case error:
                self._not_connected(error)

    def _not_connected(self, error: LinkError) -> None:
        log.debug("channel %d: not connected: %s", self.number, error.detail)
        leads_nowhere = error.error is not AmpeError.CONNECT_FAILED or isinstance(
            self._address, UDSClientAddress
        )
        self.conversation.link_failed(error.error, error.detail, answers_hello=leads_nowhere)

    def peer(self) -> PeerInfo:
        """Who is at the other end; nobody, before there is a connection."""
        return PeerInfo() if self._link is None else self._link.peer()

    def fileno(self) -> int:
        """See `Source`."""
        return -1 if self._link is None else self._link.fileno()

    def _wake(self) -> None:
        self.group.readiness.again(self)
