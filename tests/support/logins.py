"""The sign-ins of several chats, by the chats' names."""

from collections import defaultdict
from collections.abc import Callable

from agent.sign_in.login import LoginFlow, PendingLogin
from agent.sign_in.outcomes import CodeSent, Refused, SignedIn
from tests.support.fakes import FakeCognito


class Logins:
    """What `EmailOtp` remembers by session id, without its bounds.

    Attributes:
        flow: What is tested.
        pending: The chats' sign-ins.
    """

    def __init__(self, flow: LoginFlow, clock: Callable[[], float]) -> None:
        self.flow = flow
        self.clock = clock
        self.pending: defaultdict[str, PendingLogin] = defaultdict(PendingLogin)

    def request_code(self, chat: str, **asked: str) -> CodeSent | Refused:
        return self.flow.request_code(self.pending[chat], **asked)

    def answer_code(self, chat: str, digits: str) -> SignedIn | Refused:
        return self.flow.answer_code(self.pending[chat], digits)

    def expects_code(self, chat: str) -> bool:
        return self.clock() < self.pending[chat].codes_hidden_until


def mailed_code(login: Logins, cognito: FakeCognito, email: str = "ada@example.com") -> str:
    """Ask for a code in the chat of Ada; returns the one that was mailed."""
    assert isinstance(login.request_code("chat-of-ada", email=email, name="Ada"), CodeSent)
    return cognito.mailed[-1][1]
