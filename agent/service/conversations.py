"""The conversations the service holds: who may go on with one, its turns and its history."""

import hashlib
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

from strands import Agent
from strands.session.session_manager import SessionManager
from strands.types.content import ContentBlock, Messages

from agent.service.requests import RequestError
from agent.service.streaming import event
from agent.sign_in.capacity import Threads
from agent.sign_in.observability import describe
from agent.sign_in.sessions import Sessions
from agent.sign_in.stream import Chunk, ui_message_chunks
from agent.sign_in.turns import EmailOtp, Turn

_log = logging.getLogger(__name__)

SESSION_BUSY = "The last message of this chat is still being answered."
HISTORY_THREADS = 16
MAX_SESSIONS = 1_000
SESSION_IDLE_SECONDS = 3_600
# A sign-in takes a tool call or two; a model that loops ends here.
MAX_MODEL_CALLS_PER_TURN = 8


@dataclass(slots=True)
class Conversation:
    """One conversation: it belongs to the `sub`, or to the anonymous visitor, who began it."""

    agent: Agent
    cognito_sub: str | None
    history: SessionManager | None = None
    busy: bool = False


class Conversations:
    """The conversations by session id, kept in memory.

    Args:
        email_otp: The sign-in.
        new_agent: Makes the agent of a conversation; `member` tells whether it is a member's.
        session_manager: Makes the Strands session manager that keeps the history with the given
            id, 64 hexadecimal digits; None if a history ends with the process. Only its
            `initialize`, `append_message` and `sync_agent` are called.
        clock: Epoch seconds.
    """

    def __init__(
        self,
        email_otp: EmailOtp,
        new_agent: Callable[[bool], Agent],
        *,
        session_manager: Callable[[str], SessionManager] | None,
        clock: Callable[[], float],
    ) -> None:
        self._email_otp = email_otp
        self._new_agent = new_agent
        self._session_manager = session_manager
        self._threads = Threads("history", HISTORY_THREADS)
        self._conversations: Sessions[Conversation] = Sessions(
            limit=MAX_SESSIONS, idle_seconds=SESSION_IDLE_SECONDS, clock=clock
        )

    async def open(self, session_id: str, cognito_sub: str | None) -> Conversation:
        """Find or make a conversation and load its history, if this owner may continue it.

        Raises:
            RequestError: It is another's, or is still being answered.
        """
        conversation = self._conversations.get(
            session_id, lambda: Conversation(self._new_agent(cognito_sub is not None), cognito_sub)
        )
        if conversation.cognito_sub != cognito_sub:
            raise RequestError(
                403, "foreign_session", "This chat belongs to somebody else. Start a new one."
            )
        if conversation.busy:
            raise RequestError(400, "session_busy", SESSION_BUSY)
        if cognito_sub is not None:
            self._conversations.keep(session_id, conversation, owner=cognito_sub)
        await self._load(session_id, conversation)
        return conversation

    async def reply(
        self, session_id: str, conversation: Conversation, turn: Turn
    ) -> AsyncGenerator[bytes]:
        """Yield one turn's answer as server-sent events."""
        async with aclosing(self._chunks(conversation, turn)) as chunks:
            async for chunk in chunks:
                yield event(chunk)
        if address := self._email_otp.code_sent_to(session_id):
            self._conversations.keep(session_id, conversation, owner=address)

    async def _chunks(self, conversation: Conversation, turn: Turn) -> AsyncGenerator[Chunk]:
        """Play one turn; one that does not end well leaves nothing in the history."""
        if conversation.busy:  # two requests were accepted before either began
            yield {"type": "error", "errorText": SESSION_BUSY}
            yield {"type": "finish"}
            return
        conversation.busy = True
        agent = conversation.agent
        before = list(agent.messages)
        # Closed here and now, also when the browser goes away, so that the next turn finds the
        # agent free.
        events = aclosing(
            cast(
                AsyncGenerator[Any],
                agent.stream_async(
                    turn.prompt,
                    invocation_state=turn.invocation_state,
                    limits={"turns": MAX_MODEL_CALLS_PER_TURN},
                ),
            )
        )
        try:
            async with events as raw_events, aclosing(ui_message_chunks(raw_events)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            try:
                agent.messages[:] = _whole_turns(agent.messages)
                await self._save(conversation, before)
            finally:
                conversation.busy = False

    async def _load(self, session_id: str, conversation: Conversation) -> None:
        """Load the history that an earlier process has stored."""
        session_manager, agent = self._session_manager, conversation.agent
        if session_manager is None or conversation.history:
            return

        def load() -> SessionManager:
            # Not given to the agent, which would save a turn before it has ended well.
            history = session_manager(_history_id(session_id, conversation.cognito_sub))
            history.initialize(agent)
            return history

        conversation.busy = True
        try:
            conversation.history = await self._threads.run(load)
        finally:
            conversation.busy = False
        # What was being saved when an earlier process ended may lack its end.
        agent.messages[:] = _whole_turns(agent.messages)
        if agent.messages and conversation.cognito_sub is None:
            self._email_otp.expect_code_from_before(session_id)

    async def _save(self, conversation: Conversation, before: Messages) -> None:
        """Store the turn's messages, if histories are stored."""
        history, agent = conversation.history, conversation.agent
        known = {id(message) for message in before}
        new = [message for message in agent.messages if id(message) not in known]
        if history is None or not new:
            return

        def save() -> None:
            for message in new:
                history.append_message(message, agent)
            history.sync_agent(agent)

        try:
            await self._threads.run(save)
        except Exception as error:
            _log.error("history not saved", extra=describe(error))


def _history_id(session_id: str, cognito_sub: str | None) -> str:
    """Name a history after session and owner, so that after a restart nobody else loads it."""
    return hashlib.sha256(json.dumps([cognito_sub, session_id]).encode()).hexdigest()


def _whole_turns(messages: Messages) -> Messages:
    """Return the messages without turns that lack an answer's end."""
    turns: list[Messages] = []
    for message in messages:
        if not turns or (message["role"] == "user" and not _has(message["content"], "toolResult")):
            turns.append([])
        turns[-1].append(message)
    ends = [(turn, turn[-1]) for turn in turns]
    return [
        message
        for turn, end in ends
        if end["role"] == "assistant" and not _has(end["content"], "toolUse")
        for message in turn
    ]


def _has(content: list[ContentBlock], kind: str) -> bool:
    return any(kind in block for block in content)
