"""The mail in Spanish."""

from lambdas.email_otp.templates.texts import Texts

SPANISH = Texts(
    subject="Su código de acceso a {app}",
    intro="Su código de acceso a {app}:",
    months=(
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"
    ),
    asked="Solicitado el {day} de {month} de {year}, {time} UTC.",
    one_minute="Es válido durante 1 minuto a partir de ese momento.",
    many_minutes="Es válido durante {minutes} minutos a partir de ese momento.",
    warning=(
        "Introdúzcalo solo en el chat donde lo ha pedido. Si ha pedido más de uno, use el código "
        "del correo más reciente. Nadie de {app} se lo pedirá en ningún otro sitio. Si no "
        "ha pedido ningún código, puede ignorar este correo."
    ),
)
