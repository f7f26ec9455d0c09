"""The mail in English."""

from lambdas.email_otp.templates.texts import Texts

ENGLISH = Texts(
    subject="Your sign-in code for {app}",
    intro="Your sign-in code for {app}:",
    months="January February March April May June July August September October November December",
    asked="Asked for on {day} {month} {year} at {time} UTC.",
    one_minute="It is valid for 1 minute from then.",
    many_minutes="It is valid for {minutes} minutes from then.",
    warning=(
        "Enter it only in the chat where you asked for it. If you asked more than once, use the "
        "code in the latest e-mail. Nobody from {app} will ask you for it anywhere else. If "
        "you did not ask for a code, you can ignore this e-mail."
    ),
)
