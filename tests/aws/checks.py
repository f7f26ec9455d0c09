"""All checks, in the order they run: the code that has to expire is mailed first, tried last."""

from collections.abc import Sequence

from tests.aws import agent, refresh, sign_in, traces, upkeep, web
from tests.aws.check import Check

CHECKS: Sequence[Check] = (
    sign_in.code_is_mailed,
    sign_in.agent_signs_in,
    sign_in.anybody_signs_in,
    sign_in.tokens_are_own,
    sign_in.address_is_verified,
    sign_in.code_works_once,
    sign_in.wrong_codes_end_session,
    sign_in.nobody_is_locked_out,
    sign_in.session_answers_once,
    sign_in.unknown_looks_known,
    sign_in.no_self_sign_up,
    sign_in.no_other_way_in,
    sign_in.address_is_not_theirs_to_write,
    agent.visitor_signs_in,
    agent.member_sees_record,
    agent.foreign_chat_is_refused,
    agent.changed_token_is_refused,
    agent.no_token_is_refused,
    agent.visitor_is_no_member,
    agent.visitor_reads_nothing,
    agent.nothing_but_messages,
    agent.runtimes_require_mmds_v2,
    web.headers_are_strict,
    web.caching_is_right,
    web.config_agrees,
    web.bucket_is_closed,
    web.visitor_signs_in_on_page,
    refresh.refresh_brings_tokens,
    refresh.rotation_is_the_only_way,
    refresh.sign_out_ends_it,
    upkeep.bounce_is_counted,
    upkeep.sweep_leaves_guests,
    sign_in.expired_code_is_refused,
    traces.ledger_is_clean,
    traces.trigger_logs_are_clean,
    traces.agent_logs_are_clean,
)
