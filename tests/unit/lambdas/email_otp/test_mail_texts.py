"""The mail's sentences: each language has all of them, in one line each."""

from dataclasses import asdict

import pytest

from lambdas.email_otp.mail_texts import TEXTS


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_language_fills_in_every_sentence(language: str) -> None:
    texts = asdict(TEXTS[language])
    assert all(text == text.strip() and "\n" not in text for text in texts.values())
    for name in ("subject", "intro", "warning"):
        assert "{app}" in texts[name]
        assert "{minutes}" not in texts[name]
    assert "{minutes}" in texts["many_minutes"]
    assert "{" not in texts["one_minute"]
    assert all(f"{{{part}}}" in texts["asked"] for part in ("day", "month", "year", "time"))
    assert "UTC" in texts["asked"]
    assert len({*texts["months"].split()}) == len(texts["months"].split()) == 12
    assert len({*texts.values()}) >= 4
