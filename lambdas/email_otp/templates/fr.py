"""The mail in French."""

from lambdas.email_otp.templates.texts import Texts

FRENCH = Texts(
    subject="Votre code de connexion à {app}",
    intro="Votre code de connexion à {app} :",
    months="janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    first_of_month="1er",
    asked="Demandé le {day} {month} {year} à {time} UTC.",
    one_minute="Il est valable 1 minute à partir de cet instant.",
    many_minutes="Il est valable {minutes} minutes à partir de cet instant.",
    warning=(
        "Saisissez-le uniquement dans la conversation où vous l'avez demandé. Si vous en avez "
        "demandé plusieurs, utilisez celui de l'e-mail le plus récent. Personne de {app} ne vous "
        "le demandera ailleurs. Si vous n'avez pas demandé de code, ignorez cet e-mail."
    ),
)
