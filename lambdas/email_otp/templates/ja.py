"""The mail in Japanese."""

from email_otp.templates.texts import Texts

JAPANESE = Texts(
    subject="{app} のログインコード",
    intro="{app} のログインコード:",
    one_minute="有効期間は 1 分です。",
    many_minutes="有効期間は {minutes} 分です。",
    warning=(
        "コードをリクエストしたチャットにのみ入力してください。{app} の担当者がほかの場所でコードを"
        "お尋ねすることはありません。お心当たりのない場合は、このメールを無視してください。"
    ),
)
