"""The three tools an agent signs guests in with; a tool's docstring is its prompt."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from strands import ToolContext, tool
from strands.types.tools import AgentTool

from .outcomes import Outcome, SignedIn
from .turns import STATE_KEY, Turn, failed


def email_otp_tools() -> list[AgentTool]:
    """Return the three tools; they work in the turns that an `EmailOtp` makes."""
    return [initiate_cognito_login, verify_cognito_otp, get_guest_profile]


@tool(context=True)
async def initiate_cognito_login(  # noqa: D417 - it is a prompt
    tool_context: ToolContext, email: str = "", name: str = ""
) -> Any:
    """Send a sign-in code to the visitor's e-mail address.

    Call this when the visitor wants something personal, is not signed in and has typed an
    e-mail address; again when the code did not arrive or the address was wrong. Afterwards
    ask the visitor to enter the code. If `busy` is true, say that the mail may be late, and when
    to ask again (`try_again_in_minutes`). Never call it twice for one message.

    Args:
        email: The address exactly as the visitor typed it in this chat.
        name: The visitor's name, empty if not given.
    """
    return (await _in_turn(tool_context, lambda turn: turn.request_code(email, name))).output()


@tool(context=True)
async def verify_cognito_otp(  # noqa: D417
    tool_context: ToolContext, code_reference: str = ""
) -> AsyncIterator[Any]:
    """Check the code the visitor has entered and sign the visitor in.

    The code itself is never shown: the visitor's message has `[code_reference: ...]` in
    its place. Call this once for each reference, right when it appears.

    Args:
        code_reference: The reference from the visitor's latest message.
    """
    outcome = await _in_turn(tool_context, lambda turn: turn.answer_code(code_reference))
    if isinstance(outcome, SignedIn):
        yield outcome.token_delivery
    # The last value is the tool's result, which the model, the history and traces hold.
    yield outcome.output()


@tool(context=True)
async def get_guest_profile(tool_context: ToolContext) -> Any:
    """Read the signed-in visitor's own guest record.

    Call this whenever the visitor asks for something personal, such as a profile or
    bookings. It tells if nobody is signed in yet.
    """
    return (await _in_turn(tool_context, lambda turn: turn.read_profile())).output()


async def _in_turn(context: ToolContext, act: Callable[[Turn], Awaitable[Outcome]]) -> Outcome:
    try:
        turn: Turn = context.invocation_state[STATE_KEY]
    except KeyError as error:  # the agent runs without one
        return failed(error)
    return await act(turn)
