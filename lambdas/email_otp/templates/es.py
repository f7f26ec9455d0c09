"""The mail in Spanish."""

from email_otp.templates.texts import Texts

SPANISH = Texts(
    subject="Su código de acceso a {app}",
    intro="Su código de acceso a {app}:",
    one_minute="Es válido durante 1 minuto.",
    many_minutes="Es válido durante {minutes} minutos.",
    warning=(
        "Introdúzcalo solo en el chat donde lo ha pedido. Nadie de {app} se lo pedirá en ningún "
        "otro sitio. Si no ha pedido ningún código, puede ignorar este correo."
    ),
)
