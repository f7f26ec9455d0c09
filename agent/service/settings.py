"""What the example service needs beside the sign-in's deployment: its model, name and port."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from agent.sign_in.settings import Settings, SettingsError, load_settings

OFFLINE = "offline"
"""The model id of the rule-based model, so that nobody serves it by accident."""

DEFAULT_APP_NAME = "Guest desk"
DEFAULT_PORT = 8080


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings(Settings):
    """The whole of the service's settings.

    Attributes:
        model_id: A Bedrock model or inference profile, or `offline`.
        app_name: What the assistant calls the house it speaks for.
        port: TCP port on the loopback address, 1 to 65535.
    """

    model_id: str
    app_name: str = DEFAULT_APP_NAME
    port: int = DEFAULT_PORT

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self:
        """Read them.

        Args:
            environment: Usually `os.environ`.

        Raises:
            SettingsError: Something is missing or cannot be right; names every such variable.
        """
        faults = []
        deployment = None
        try:
            deployment = load_settings(environment)
        except SettingsError as error:
            faults.append(str(error))
        model_id = environment.get("MODEL_ID", "").strip()
        if not model_id:
            faults.append(
                "MODEL_ID is not set: pass a Bedrock model or inference profile, or offline for "
                "the rule-based model"
            )
        port = environment.get("PORT", "").strip() or str(DEFAULT_PORT)
        if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
            faults.append(f"PORT is {port!r}: it must be a number from 1 to 65535")
        if faults or deployment is None:
            raise SettingsError("\n".join(faults))
        return cls(
            **asdict(deployment),
            model_id=model_id,
            app_name=environment.get("APP_NAME", "").strip() or DEFAULT_APP_NAME,
            port=int(port),
        )
