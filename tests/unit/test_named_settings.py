"""A message that names a setting has its current value, and never a secret."""

import pytest

from orderflow import cli
from orderflow.exits import CannotStart, Failed, OrderflowError
from orderflow.start.named import value_of, with_values
from orderflow.start.settings import SettingError, parse_settings, variables

SECRETS = {"POSTGRES_PASSWORD", "KAFKA_SASL_PASSWORD", "REDIS_PASSWORD", "ADMIN_TOKEN"}
SETTINGS = parse_settings(dict.fromkeys(SECRETS, "swordfish"))


@pytest.mark.parametrize("name", sorted(variables()))
def test_every_setting_is_named_with_its_value(name: str) -> None:
    """As it would be written; a secret is only named."""
    told = with_values(f"it failed: check {name}, or {name} again", SETTINGS)
    if name in SECRETS:
        assert told == f"it failed: check {name}, or {name} again"
    else:
        assert told == f"it failed: check {name} ({value_of(SETTINGS, name)}), or {name} again"
        written = variables()[name] or "not set"
        assert value_of(SETTINGS, name) == written.removesuffix(".0")


@pytest.mark.parametrize(
    "message",
    [
        "no broker answered: check KAFKA_BROKERS (127.0.0.1:1)",
        "POSTGRES_HOST is 'db', but the embedded services are here",
        "run `POSTGRES_PORT=5433 orderflow services up`",
        "give it another group than 'a' (KAFKA_GROUP_ID)",
        "MY_WORKERS and WORKERS_MAX are no settings",
        "nothing answers",
    ],
)
def test_what_has_its_value_already_stays_as_it_is(message: str) -> None:
    assert with_values(message, SETTINGS) == message


def test_a_value_is_short_and_printable() -> None:
    """A path may hold anything; a list of brokers may be long."""
    settings = parse_settings(
        {"KAFKA_SSL_CAFILE": "/a\x1b/ca.pem", "KAFKA_BROKERS": ",".join(f"host-{n}:9092" for n in range(99))}
    )
    assert value_of(settings, "KAFKA_SSL_CAFILE") == r"/a\x1b/ca.pem"
    assert len(value_of(settings, "KAFKA_BROKERS") or "") == 201


def test_settings_that_cannot_be_read_leave_a_message_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is about something else: what is wrong with the settings is said when they are needed."""
    monkeypatch.setenv("WORKERS", "many")
    assert with_values("check REDIS_ADDR") == "check REDIS_ADDR"


@pytest.mark.parametrize("failure", [Failed, CannotStart])
def test_a_failure_of_any_command_leaves_with_values(
    failure: type[OrderflowError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are added where the message leaves the program, so that no message can forget them."""

    def fail(**_options: object) -> None:
        raise failure("nothing answers: check REDIS_ADDR and REDIS_PASSWORD")

    monkeypatch.setattr(cli, "guard_standard_output", lambda: None)
    monkeypatch.setattr(cli.root, "main", fail)
    monkeypatch.setenv("REDIS_ADDR", "cache:6379")
    with pytest.raises(SystemExit):
        cli.run()
    assert capsys.readouterr().err == "orderflow: nothing answers: check REDIS_ADDR (cache:6379) and REDIS_PASSWORD\n"


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"KAFKA_MAX_RETRY_DELAY_S": "1"}, "KAFKA_MAX_RETRY_DELAY_S must be at least KAFKA_INITIAL_RETRY_DELAY_S (2)"),
        ({"KAFKA_DLQ_TOPIC": "orders"}, "KAFKA_DLQ_TOPIC must differ from KAFKA_TOPIC (it is 'orders')"),
        ({"KAFKA_SECURITY_PROTOCOL": "sasl_ssl"}, "must be set when KAFKA_SECURITY_PROTOCOL is SASL_SSL"),
        ({"REDIS_ADDR": "redis:0"}, "such as 127.0.0.1:6379 (it is 'redis:0')"),
        ({"HTTP_ADDR": "8080"}, "such as 127.0.0.1:8080 or :8080 (it is '8080')"),
    ],
)
def test_settings_that_do_not_fit_name_the_values(environment: dict[str, str], told: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_settings(environment)
    assert told in str(caught.value)
