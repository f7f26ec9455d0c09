"""The sentences of the mail, in every language that codes are mailed in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """One language's sentences.

    `{app}` is the app's name, `{minutes}` the code's life, `{day} {month} {year} {time}` when it
    was asked for. `months` are twelve words, with spaces between. `tried` goes with long codes.
    """

    subject: str
    intro: str
    months: str
    asked: str
    one_minute: str
    many_minutes: str
    warning: str
    tried: str
    first_of_month: str = "1"


_ENGLISH = Texts(
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
    tried=(
        "Somebody has been trying codes: wrong ones were entered for your e-mail address several "
        "times, so this code is longer than usual. Do not give it to anybody."
    ),
)

_GERMAN = Texts(
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
    tried=(
        "Jemand hat mehrmals falsche Codes für Ihre E-Mail-Adresse eingegeben. Deshalb ist dieser "
        "Code länger als sonst. Geben Sie ihn an niemanden weiter."
    ),
)

_SPANISH = Texts(
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
    tried=(
        "Alguien ha introducido varias veces códigos incorrectos para su dirección de correo. Por "
        "eso este código es más largo de lo habitual. No lo comparta con nadie."
    ),
)

_FRENCH = Texts(
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
    tried=(
        "Quelqu'un a saisi plusieurs fois des codes erronés pour votre adresse e-mail. C'est "
        "pourquoi ce code est plus long que d'habitude. Ne le communiquez à personne."
    ),
)

_JAPANESE = Texts(
    subject="{app} のログインコード",
    intro="{app} のログインコード:",
    months="1 2 3 4 5 6 7 8 9 10 11 12",
    asked="{year} 年 {month} 月 {day} 日 {time} (UTC) にリクエストされたコードです。",
    one_minute="有効期間はその時点から 1 分です。",
    many_minutes="有効期間はその時点から {minutes} 分です。",
    warning=(
        "コードをリクエストしたチャットにのみ入力してください。複数回リクエストした場合は、最新の"
        "メールに記載されているコードをご利用ください。{app} の担当者がほかの場所で"
        "コードをお尋ねすることはありません。"
        "お心当たりのない場合は、このメールを無視してください。"
    ),
    tried=(
        "お客様のメールアドレスに対して、誤ったコードが何度も入力されました。そのため、"
        "今回のコードは通常より長くなっています。このコードは誰にも教えないでください。"
    ),
)

TEXTS = {"de": _GERMAN, "en": _ENGLISH, "es": _SPANISH, "fr": _FRENCH, "ja": _JAPANESE}
"""By ISO 639-1 code."""
