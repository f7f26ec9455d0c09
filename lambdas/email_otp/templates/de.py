"""The mail in German."""

from email_otp.templates.texts import Texts

GERMAN = Texts(
    subject="Ihr Anmeldecode für {app}",
    intro="Ihr Anmeldecode für {app}:",
    one_minute="Er ist 1 Minute gültig.",
    many_minutes="Er ist {minutes} Minuten gültig.",
    warning=(
        "Geben Sie ihn nur in dem Chat ein, in dem Sie ihn angefordert haben. Niemand von {app} "
        "wird Sie anderswo danach fragen. Haben Sie keinen Code angefordert, können Sie diese "
        "E-Mail ignorieren."
    ),
)
