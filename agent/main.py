"""The agent's HTTP service: `python -m agent.main` answers `POST /invocations` on loopback.

AgentCore starts it by `agent/hosted.py`, on all interfaces.
"""

import asyncio
import gc
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import boto3
from bedrock_agentcore.runtime import BedrockAgentCoreApp
from bedrock_agentcore.runtime.context import RequestContext
from botocore.config import Config
from starlette.middleware import Middleware
from starlette.requests import Request
from strands import Agent
from strands.models import Model
from strands.models.bedrock import DEFAULT_READ_TIMEOUT, BedrockModel
from strands.session.session_manager import SessionManager

from agent.service.conversations import Conversations
from agent.service.loopback import LoopbackOnly
from agent.service.refusal_streams import RefusalsAsStreams
from agent.service.requests import Admission, BoundedJsonBody, ChatRequest, refusal_of
from agent.service.settings import OFFLINE, ServiceSettings
from agent.service.streaming import ModelThreads, StreamedAnswer
from agent.sign_in import EmailOtp, email_otp_tools
from agent.sign_in.capacity import TURNS_AT_ONCE, Place
from agent.sign_in.identity import TokenVerifier
from agent.sign_in.observability import log_to_stderr, pin_library_loggers
from agent.sign_in.settings import SettingsError

LOOPBACK, ALL_INTERFACES = "127.0.0.1", "0.0.0.0"  # noqa: S104 - for AgentCore alone
SYSTEM_PROMPT = Path(__file__).parent / "service" / "prompts" / "system.md"


def create_app(
    settings: ServiceSettings,
    *,
    email_otp: EmailOtp | None = None,
    verifier: TokenVerifier | None = None,
    is_signed_in: Callable[[str], bool] | None = None,
    model: Model | None = None,
    session_manager: Callable[[str], SessionManager] | None = None,
    clock: Callable[[], float] = time.time,
    hosted: bool = False,
) -> BedrockAgentCoreApp:
    """Compose the service.

    Args:
        settings: The deployment to work with.
        email_otp: Instead of one on AWS clients.
        verifier: Instead of one that fetches the pool's keys.
        is_signed_in: Instead of asking Cognito whether it still takes a verified token.
        model: Instead of the one `settings.model_id` names.
        session_manager: Keeps the histories; see `Conversations`.
        clock: Epoch seconds.
        hosted: It is behind AgentCore, which alone reaches it, and which lets through no refusal
            but one in a stream. Otherwise it answers programs and pages of this machine alone.
    """
    pin_library_loggers()
    session = boto3.Session(region_name=settings.region)  # one: each reads botocore's data anew
    email_otp = email_otp or EmailOtp.connect(settings, session)
    admission = Admission(
        verifier or TokenVerifier.connect(settings, clock=clock),
        is_signed_in or email_otp.is_signed_in,
        reads=email_otp.reads,
    )
    conversations = Conversations(
        email_otp,
        _agents(settings, model or _model(settings, session)),
        session_manager=session_manager,
        clock=clock,
    )
    model_threads = ModelThreads()

    async def invoke(payload: object, context: RequestContext) -> Any:
        place: Place | None = None
        try:
            # Of this very request: the context's own copy of the headers may be that of an earlier
            # request on the same connection.
            asked = ChatRequest.read(payload, cast(Request, context.request))
            cognito_sub, place = await admission.admit(asked.access_token)
            conversation = await conversations.open(asked.session_id, cognito_sub)
            turn = email_otp.turn(
                asked.session_id,
                asked.prompt,
                code=asked.code,
                cognito_sub=cognito_sub,
                locale=asked.locale,
            )
            # AgentCore makes this event loop and offers no setting for its threads.
            asyncio.get_running_loop().set_default_executor(model_threads)
            return StreamedAnswer(conversations.reply(asked.session_id, conversation, turn), place)
        except Exception as error:  # else its text would be the answer
            if place:
                place.leave()
            return refusal_of(error).response

    app = BedrockAgentCoreApp(
        middleware=[
            Middleware(RefusalsAsStreams if hosted else LoopbackOnly),
            Middleware(BoundedJsonBody),
        ]
    )
    app.entrypoint(invoke)
    return app


def _agents(settings: ServiceSettings, model: Model) -> Callable[[bool], Agent]:
    """Return what makes the agent of a new conversation; it is told whether it is a member's."""
    tools = email_otp_tools()
    system_prompt = SYSTEM_PROMPT.read_text("utf-8").replace("{app_name}", settings.app_name)
    return lambda member: Agent(
        model=model,
        tools=[*(tools[-1:] if member else tools)],  # a member has no sign-in to do
        system_prompt=system_prompt,
        callback_handler=None,  # the default one prints to the terminal
    )


def _model(settings: ServiceSettings, session: boto3.Session) -> Model:
    if settings.model_id == OFFLINE:
        # An agent that guests talk to asks Bedrock, whose model Strands imports in any case.
        from agent.service.offline_model import OfflineModel

        return OfflineModel()
    return BedrockModel(
        model_id=settings.model_id,
        boto_session=session,
        boto_client_config=Config(
            read_timeout=DEFAULT_READ_TIMEOUT, max_pool_connections=TURNS_AT_ONCE
        ),
    )


def serve(app: BedrockAgentCoreApp, port: int, *, host: str = LOOPBACK) -> None:
    """Serve until stopped."""
    # AgentCore's own handlers print session ids, which open anonymous chats, and a line on each
    # request, of which we log the refused ones ourselves.
    app.logger.handlers.clear()
    app.logger.setLevel(logging.ERROR)
    logging.getLogger("bedrock_agentcore").setLevel(logging.ERROR)  # its warnings quote headers
    app.run(
        port=port,
        host=host,
        log_config=None,
        lifespan="off",  # of which it has none; else Ctrl-C logs a traceback
        # AgentCore keeps what it reads of a request in context variables, and asyncio would hand
        # them on to the next request of the connection.
        reset_contextvars=True,
    )


def main(*, hosted: bool = False) -> int:
    """Serve until stopped: on the loopback address, or hosted on all interfaces.

    https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-http-protocol-contract.html
    """
    try:
        settings = ServiceSettings.load(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for who started it
        return 2
    log_to_stderr(logging.INFO)
    app = create_app(settings, hosted=hosted)
    gc.freeze()  # what is there by now stays: no collection need look at it
    gc.enable()
    serve(app, settings.port, host=ALL_INTERFACES if hosted else LOOPBACK)
    return 0


if __name__ == "__main__":
    sys.exit(main())
