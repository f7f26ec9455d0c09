"""The mail in German."""

from lambdas.email_otp.templates.texts import Texts

GERMAN = Texts(
    subject="Ihr Anmeldecode für {app}",
    intro="Ihr Anmeldecode für {app}:",
    months="Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    asked="Angefordert am {day}. {month} {year} um {time} Uhr (UTC).",
    one_minute="Ab diesem Zeitpunkt ist er 1 Minute gültig.",
    many_minutes="Ab diesem Zeitpunkt ist er {minutes} Minuten gültig.",
    warning=(
        "Geben Sie ihn nur in dem Chat ein, in dem Sie ihn angefordert haben. Haben Sie mehrere "
        "angefordert, verwenden Sie den Code aus der neuesten E-Mail. Niemand von "
        "{app} wird Sie anderswo danach fragen. Haben Sie keinen Code angefordert, können Sie "
        "diese E-Mail ignorieren."
    ),
)
