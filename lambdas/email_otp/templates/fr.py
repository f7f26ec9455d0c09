"""The mail in French."""

from email_otp.templates.texts import Texts

FRENCH = Texts(
    subject="Votre code de connexion à {app}",
    intro="Votre code de connexion à {app} :",
    one_minute="Il est valable 1 minute.",
    many_minutes="Il est valable {minutes} minutes.",
    warning=(
        "Saisissez-le uniquement dans la conversation où vous l'avez demandé. Personne de {app} "
        "ne vous le demandera ailleurs. Si vous n'avez pas demandé de code, ignorez cet e-mail."
    ),
)
