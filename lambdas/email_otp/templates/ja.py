"""The mail in Japanese."""

from lambdas.email_otp.templates.texts import Texts

JAPANESE = Texts(
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
)
