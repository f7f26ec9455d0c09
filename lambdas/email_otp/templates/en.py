"""The mail in English."""

from email_otp.templates.texts import Texts

ENGLISH = Texts(
    subject="Your sign-in code for {app}",
    intro="Your sign-in code for {app}:",
    one_minute="It is valid for 1 minute.",
    many_minutes="It is valid for {minutes} minutes.",
    warning=(
        "Enter it only in the chat where you asked for it. Nobody from {app} will ask you for it "
        "anywhere else. If you did not ask for a code, you can ignore this e-mail."
    ),
)
