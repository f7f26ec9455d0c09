"""The languages that codes are mailed in, by ISO 639-1 code."""

from lambdas.email_otp.templates.de import GERMAN
from lambdas.email_otp.templates.en import ENGLISH
from lambdas.email_otp.templates.es import SPANISH
from lambdas.email_otp.templates.fr import FRENCH
from lambdas.email_otp.templates.ja import JAPANESE

__all__ = ["TEXTS"]

TEXTS = {"de": GERMAN, "en": ENGLISH, "es": SPANISH, "fr": FRENCH, "ja": JAPANESE}
