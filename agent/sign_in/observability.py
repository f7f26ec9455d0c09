"""The agent's logs and metrics: constant messages, fixed keys, no value that a guest typed."""

import json
import logging
import time
import traceback
from typing import Any, override

from botocore.exceptions import ClientError
from opentelemetry.metrics import get_meter

LOG_KEYS = (
    "correlation_id",  # one a login, in the triggers' logs too from the answer on
    "outcome",
    "operation",
    "error_type",
    "aws_error_code",
    "location",
    "claim",
)

# They count once the process has a meter provider, such as AgentCore's; until then they do nothing.
_meter = get_meter("email_otp")
code_requests = _meter.create_counter(
    "email_otp.code_requests", description="Codes asked for, by `outcome`"
)
code_answers = _meter.create_counter(
    "email_otp.code_answers", description="Codes entered, by `outcome`"
)
access_tokens_refused = _meter.create_counter(
    "email_otp.access_tokens_refused", description="Refused bearer tokens, by `claim`"
)

# At DEBUG these print request and response bodies, which hold codes and tokens, or tool inputs.
_PRINTS_SECRETS_AT_DEBUG = ("boto3", "botocore", "strands", "bedrock_agentcore", "urllib3")


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON; only keys of `LOG_KEYS` pass."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        timestamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "timestamp": f"{timestamp}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: getattr(record, key) for key in LOG_KEYS if hasattr(record, key)}
        return json.dumps(line)


def log_to_stderr(level: int) -> None:
    """Write our own lines to standard error as JSON, and warnings of the libraries.

    Args:
        level: The least of ours that are written.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger(__name__.partition(".")[0]).setLevel(level)


def describe(error: BaseException) -> dict[str, str]:
    """Return what may be logged of an exception: its type and place, never its text."""
    described = {"error_type": type(error).__name__}
    if isinstance(error, ClientError):
        described["operation"] = error.operation_name
        described["aws_error_code"] = str(error.response.get("Error", {}).get("Code", ""))
    if frames := traceback.extract_tb(error.__traceback__):
        described["location"] = f"{frames[-1].name}:{frames[-1].lineno}"
    return described


def pin_library_loggers() -> None:
    """Keep the libraries' DEBUG records from carrying codes and tokens, whatever is set later.

    The level alone does not hold: somebody who looks for a fault sets a child logger to DEBUG.
    So such records also lose their content where every record is made.
    """
    for name in _PRINTS_SECRETS_AT_DEBUG:
        logger = logging.getLogger(name)
        if logger.getEffectiveLevel() < logging.INFO:
            logger.setLevel(logging.INFO)
    make_record = logging.getLogRecordFactory()
    if getattr(make_record, "withholds_secrets", False):
        return

    def make_safe_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        # A record made from a dict gets its name and level, None until then, later.
        if (record.name or "").startswith(
            _PRINTS_SECRETS_AT_DEBUG
        ) and record.levelno < logging.INFO:
            record.msg, record.args, record.exc_info = "withheld", (), None
        return record

    make_safe_record.withholds_secrets = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make_safe_record)
