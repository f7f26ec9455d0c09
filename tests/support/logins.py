"""The sign-ins of several chats, by the chats' names."""

from collections import defaultdict

from agent.sign_in.login import EmailOtpLogin, PendingLogin
from agent.sign_in.outcomes import CodeSent, Refused, SignedIn


class Logins:
    """What `EmailOtp` remembers by session id, without its bounds.

    Attributes:
        flow: What is tested.
        pending: The chats' sign-ins.
    """

    def __init__(self, flow: EmailOtpLogin) -> None:
        self.flow = flow
        self.pending: defaultdict[str, PendingLogin] = defaultdict(PendingLogin)

    def initiate(self, chat: str, **asked: str) -> CodeSent | Refused:
        return self.flow.initiate(self.pending[chat], **asked)

    def verify(self, chat: str, digits: str) -> SignedIn | Refused:
        return self.flow.verify(self.pending[chat], digits)

    def expects_code(self, chat: str) -> bool:
        return self.flow.expects_code(self.pending[chat])
