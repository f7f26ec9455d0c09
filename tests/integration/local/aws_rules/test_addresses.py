"""Users' addresses under AWS's rules, beside MiniStack's own."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from botocore.exceptions import ClientError

from tests.support.deployment import new_address
from tests.support.scripted_pool import RIGHT, ScriptedPool, refusal, refusal_by_rule


def create(pool: ScriptedPool, address: str) -> None:
    pool.aws.cognito.admin_create_user(
        UserPoolId=pool.pool_id, Username=address, MessageAction="SUPPRESS"
    )


def test_address_in_another_case_is_the_same_user(strict: ScriptedPool, bare: ScriptedPool) -> None:
    def twice(pool: ScriptedPool) -> None:
        create(pool, pool.new_user().upper())

    exists = "UsernameExistsException: User account already exists"
    assert refusal_by_rule(twice, strict, bare) == exists
    found = refusal(lambda pool: pool.sub(pool.new_user().title()), bare)
    assert found.startswith("UserNotFoundException"), "the rule can go"
    address = strict.new_user()
    assert strict.sub(address.title()) == strict.sub(address)
    challenge = strict.initiate(address.upper())
    assert challenge["ChallengeParameters"]["USERNAME"] == strict.sub(address)
    assert "AuthenticationResult" in strict.answer(challenge, RIGHT)


def test_no_address_changes_to_another_users(strict: ScriptedPool, bare: ScriptedPool) -> None:
    def take(pool: ScriptedPool) -> None:
        hers, his = pool.new_user(), pool.new_user()
        pool.aws.cognito.admin_update_user_attributes(
            UserPoolId=pool.pool_id,
            Username=his,
            UserAttributes=[{"Name": "email", "Value": hers}],
        )

    assert refusal_by_rule(take, strict, bare) == (
        "AliasExistsException: An account with the email already exists."
    )


def test_own_address_may_be_written_in_any_case(strict: ScriptedPool) -> None:
    address = strict.new_user()
    for name, value in ((address, address.upper()), (address.title(), address)):
        strict.aws.cognito.admin_update_user_attributes(
            UserPoolId=strict.pool_id,
            Username=name,
            UserAttributes=[{"Name": "email", "Value": value}],
        )
    assert strict.sub(address)


def test_one_address_is_one_user_in_the_same_instant_too(strict: ScriptedPool) -> None:
    for _ in range(5):
        address = new_address()

        def created(spelled: str) -> bool:
            try:
                create(strict, spelled)
            except ClientError:
                return False
            return True

        with ThreadPoolExecutor(10) as pool:
            assert sum(pool.map(created, [address, address.upper()] * 5)) == 1


def test_address_that_was_taken_away_stands_in_nobodys_way(strict: ScriptedPool) -> None:
    taken_away = [{"Name": "email", "Value": None}]
    strict.call(
        "AdminUpdateUserAttributes",
        {"Username": strict.new_user(), "UserAttributes": taken_away},
    )

    assert "AuthenticationResult" in strict.answer(strict.initiate(strict.new_user()), RIGHT)


def test_client_writes_what_it_may_and_nothing_else(
    strict: ScriptedPool, bare: ScriptedPool
) -> None:
    def write(pool: ScriptedPool, name: str, value: str) -> None:
        pool.aws.cognito.update_user_attributes(
            AccessToken=pool.sign_in()["AccessToken"],
            UserAttributes=[{"Name": name, "Value": value}],
        )

    write(strict, "name", "Ada")
    assert refusal_by_rule(lambda pool: write(pool, "email", new_address()), strict, bare) == (
        "NotAuthorizedException: A client attempted to write unauthorized attribute"
    )


def test_who_signs_up_writes_no_more_than_the_client_may(
    strict: ScriptedPool, bare: ScriptedPool
) -> None:
    def open_to_all(pool: ScriptedPool) -> ScriptedPool:
        opened = pool.aws.cognito.create_user_pool(PoolName="open", UsernameAttributes=["email"])[
            "UserPool"
        ]["Id"]
        return replace(pool, pool_id=opened).with_client()

    def sign_up(pool: ScriptedPool) -> None:
        pool = open_to_all(pool)
        pool.aws.cognito.sign_up(
            ClientId=pool.client_id,
            Username=new_address(),
            Password="Example-pass-1",
            UserAttributes=[{"Name": "locale", "Value": "de"}],
        )

    assert "unauthorized attribute" in refusal_by_rule(sign_up, strict, bare)


def test_nobody_signs_up_where_administrators_create_users(
    strict: ScriptedPool, bare: ScriptedPool
) -> None:
    def sign_up(pool: ScriptedPool) -> None:
        pool.aws.cognito.sign_up(
            ClientId=pool.client_id, Username=new_address(), Password="Example-pass-1"
        )

    assert refusal_by_rule(sign_up, strict, bare) == (
        "NotAuthorizedException: SignUp is not permitted for this user pool"
    )
