"""Settings: a bad value is one line that names the variable, what is wrong and what is allowed."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.start.address import Address
from orderflow.start.settings import SettingError, load_settings, parse_settings, variables

BAD = {
    "LOG_LEVEL": ["loud", "10"],
    "LOG_FORMAT": ["xml"],
    "HTTP_ADDR": ["8080", "127.0.0.1", "host:0", "host:65536", "host:http", "http://host:80"],
    "HTTP_KEEPALIVE_S": ["0", "nan", "75s", "86401"],
    "HTTP_CORS_ORIGINS": [
        *(
            "*",
            "null",
            "shop.example",
            "https://",
            "https://shop.example/",
            "https://Shop.example",
            "ftp://shop.example",
        ),
        *("https://shop.example:443", "http://shop.example:80", "https://a:0", "https://a:65536", "https://a:08"),
        *("https://a,", ",", "https://a b", "https://a;https://b", "https://.a", "http://[::g]", "http://[0:0::1]"),
        *("https://a?x", "https://a#x", "https://*.shop.example", "https://заказ.example"),
    ],
    "POSTGRES_HOST": ["db:5432", "a,", "[::1]:5432", "host=a", "a b", "::g"],
    "POSTGRES_PORT": ["0", "65536", "5432.0", "five"],
    "POSTGRES_DATABASE": ["a/b", "x" * 64],
    "POSTGRES_SSL_MODE": ["allow", "yes"],
    "KAFKA_BROKERS": [",", "host", ":9092", "host:9092,other", "user:word:9092"],
    "KAFKA_TOPIC": ["two words", "x" * 250, "ordérs"],
    "KAFKA_PARTITIONS": ["0", "10001", "many"],
    "KAFKA_GROUP_ID": ["two words"],
    "KAFKA_DLQ_TOPIC": ["two words", "orders"],
    "KAFKA_VALUE_FORMAT": ["avro", "confluent", "schema,payload"],
    "KAFKA_SECURITY_PROTOCOL": ["TLS"],
    "KAFKA_SASL_MECHANISM": ["GSSAPI"],
    "KAFKA_INITIAL_RETRY_DELAY_S": ["0", "-1", "soon", "nan", "inf"],
    "KAFKA_MAX_RETRY_DELAY_S": ["0", "1", "nan"],
    "KAFKA_BACKOFF_FACTOR": ["0.5", "nan", "inf"],
    "KAFKA_MAX_RETRIES": ["-1", "2.5"],
    "REDIS_ADDR": ["redis", "redis:0"],
    "REDIS_DB": ["-1", "first"],
    "REDIS_TLS": ["maybe"],
    "REDIS_TTL": ["0", "1h"],
    "CACHE_WARM_ORDERS": ["-1", "all"],
    "WORKERS": ["0", "257", "auto"],
    "BATCH_MAX_ORDERS": ["0", "1e3"],
    "BATCH_MAX_BYTES": ["1", "8MiB"],
    "BATCH_HISTORY_S": ["59", "nan", "7d"],
    "RESTART_MAX": ["-1", "often"],
    "RESTART_WINDOW_S": ["0", "nan"],
    "START_TIMEOUT_S": ["-1", "nan"],
    "SHUTDOWN_TIMEOUT_S": ["0", "nan"],
    "BRAKE_SHARE": ["-0.1", "1.1", "nan", "50%"],
    "BRAKE_WINDOW": ["0", "all"],
    "BRAKE_PAUSE_S": ["0", "nan"],
}
FREE_TEXT = {
    "POSTGRES_USER",
    "POSTGRES_PASSWORD",
    "POSTGRES_SSL_ROOT_CERT",
    "KAFKA_SASL_USERNAME",
    "KAFKA_SASL_PASSWORD",
    "KAFKA_SSL_CAFILE",
    "REDIS_USERNAME",
    "REDIS_PASSWORD",
    "ADMIN_TOKEN",
}
HOLDING_A_LOGIN = {
    "HTTP_ADDR": ["http://u:swordfish@h:80", "u:swordfish@h:80"],
    "HTTP_CORS_ORIGINS": ["https://u:swordfish@h", "https://a,https://swordfish@h"],
    "POSTGRES_HOST": ["postgres://u:swordfish@h/x", "u:swordfish@h", "swordfish@h", "host=h password=swordfish"],
    "POSTGRES_DATABASE": ["postgres://u:swordfish@h/x", "dbname=x password=swordfish", "u:swordfish@h"],
    "POSTGRES_USER": ["postgres://u:swordfish@h/x", "user=u password = swordfish"],
    "POSTGRES_PORT": ["5432/x?password=swordfish"],
    "POSTGRES_SSL_ROOT_CERT": ["https://u:swordfish@h/ca.pem"],
    "KAFKA_BROKERS": ["SASL_SSL://u:swordfish@h:9092", "a:9092,u:swordfish@h:9092", "u:swordfish:9092"],
    "KAFKA_TOPIC": ["kafka://u:swordfish@h:9092/orders"],
    "KAFKA_DLQ_TOPIC": ["u:swordfish@h"],
    "KAFKA_GROUP_ID": ["u:swordfish@h"],
    "KAFKA_SASL_USERNAME": ["sb://h/;SharedAccessKey=swordfish"],
    "KAFKA_SSL_CAFILE": ["https://u:swordfish@h/ca.pem"],
    "REDIS_ADDR": ["redis://:swordfish@h:6379", ":swordfish@h:6379", "swordfish@h:6379", "h:6379?password=swordfish"],
    "REDIS_USERNAME": ["redis://u:swordfish@h"],
    "REDIS_DB": ["redis://u:swordfish@h/0"],
    "LOG_LEVEL": ["u:swordfish@h"],
}
SECRETS = ("POSTGRES_PASSWORD", "KAFKA_SASL_PASSWORD", "REDIS_PASSWORD", "ADMIN_TOKEN")


def test_every_variable_is_tested_here() -> None:
    """A variable that is added to the settings is added to this file too."""
    assert BAD.keys() | FREE_TEXT == variables().keys()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_is_one_line_that_names_the_variable(name: str, value: str) -> None:
    """The message starts with the variable's name, says what is allowed, and fits on one line."""
    with pytest.raises(SettingError) as caught:
        parse_settings({name: value})
    message = str(caught.value)
    assert message.startswith(f"{name} must ")
    assert "\n" not in message
    # Nothing else is repeated: it might be a login.
    assert repr(value[:80]) in message or name == "HTTP_CORS_ORIGINS" or "://" in value or re.search("[:=][a-z]", value)


@pytest.mark.parametrize("value", ["nan", "abc", "0", "31536001"])
def test_limits_are_written_out(value: str) -> None:
    """Nobody has to know what 3.1536e+07 is."""
    with pytest.raises(SettingError, match=r"^REDIS_TTL must be a whole number from 1 to 31,536,000 "):
        parse_settings({"REDIS_TTL": value})


@pytest.mark.parametrize("name", sorted(FREE_TEXT))
def test_a_nul_is_refused_everywhere(name: str) -> None:
    """No text holds a NUL, and the message does not repeat what a secret holds."""
    with pytest.raises(SettingError, match=f"^{name} must not contain a NUL") as caught:
        parse_settings({name: "hidden\x00value"})
    assert name not in SECRETS or "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in HOLDING_A_LOGIN.items() for value in values]
)
def test_what_may_hold_a_login_is_refused_and_not_repeated(name: str, value: str) -> None:
    """A URL or a connection string, or anything with a user and a password in it, is no address and no name."""
    with pytest.raises(SettingError, match=f"^{name} must be ") as caught:
        parse_settings({name: value})
    assert "swordfish" not in str(caught.value)


@pytest.mark.parametrize("name", ["HTTP_ADDR", "KAFKA_BROKERS", "REDIS_ADDR"])
@pytest.mark.parametrize("value", ["hooks.example/services/swordfish", "//user/swordfish:99", "host/swordfish:1"])
def test_a_url_without_its_scheme_is_refused_and_not_repeated(name: str, value: str) -> None:
    """What is behind the first slash may be a token."""
    with pytest.raises(SettingError, match=f"^{name} must be ") as caught:
        parse_settings({name: value})
    assert "swordfish" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "login"),
    [
        ("POSTGRES_HOST", "postgres://h", "set POSTGRES_USER and POSTGRES_PASSWORD"),
        (
            "KAFKA_BROKERS",
            "SASL_SSL://h:9092",
            "set KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD",
        ),
        ("REDIS_ADDR", "redis://h:6379", "set REDIS_USERNAME and REDIS_PASSWORD"),
    ],
)
def test_a_refused_address_says_where_the_login_belongs(name: str, value: str, login: str) -> None:
    """The variables are named."""
    with pytest.raises(SettingError, match=f"without a URL or a login: {login}"):
        parse_settings({name: value})


@pytest.mark.parametrize("name", sorted(variables()))
def test_an_empty_value_means_the_default(name: str) -> None:
    """Compose passes unset variables on as empty ones. Blanks are empty too, unless they are a password."""
    assert parse_settings({name: ""}) == parse_settings({})
    assert name in SECRETS or parse_settings({name: "  "}) == parse_settings({})


def test_a_secret_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the spaces around it: from the environment, and from quotes in the file."""
    env_file = tmp_path / ".env"
    env_file.write_text("POSTGRES_PASSWORD=' pass \"word# '\nREDIS_PASSWORD=\"\tb \"\nPOSTGRES_USER=' u '\n")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", " k ")
    monkeypatch.setenv("ADMIN_TOKEN", "  ")
    settings = load_settings(env_file)
    assert (settings.postgres_password, settings.redis_password) == (' pass "word# ', "\tb ")
    assert (settings.kafka_sasl_password, settings.admin_token, settings.postgres_user) == (" k ", "  ", "u")


def test_postgresql_has_one_or_more_hosts() -> None:
    """Names, addresses and folders of sockets, all with one port; the URL for dbmate names one of them."""
    settings = parse_settings({"POSTGRES_HOST": "db-1.local, [::1],/run/a b", "POSTGRES_PORT": "5433"})
    assert settings.postgres_hosts == ["db-1.local", "::1", "/run/a b"]
    assert settings.postgres_address == "db-1.local:5433,[::1]:5433,/run/a b/.s.PGSQL.5433"
    heads = [settings.postgres_url(host).partition("@")[2] for host in settings.postgres_hosts]
    assert heads == [
        "db-1.local:5433/order_service?sslmode=disable",
        "[::1]:5433/order_service?sslmode=disable",
        ":5433/order_service?sslmode=disable&host=%2Frun%2Fa%20b",
    ]


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_not_shown(name: str) -> None:
    """The settings may be logged: what is secret in them stays out."""
    assert "swordfish" not in repr(parse_settings({name: "swordfish"}))


def test_origins_are_taken_as_browsers_send_them() -> None:
    """In their order, each once."""
    given = "https://shop.example, http://localhost:3000,http://[::1]:8080 ,http://my_host,https://shop.example"
    expected = ("https://shop.example", "http://localhost:3000", "http://[::1]:8080", "http://my_host")
    assert parse_settings({"HTTP_CORS_ORIGINS": given}).http_cors_origins == expected
    with pytest.raises(SettingError, match=r"\(number 2 is not\)$"):
        parse_settings({"HTTP_CORS_ORIGINS": "https://shop.example,https://shop.example/page"})


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("https://shop.example/", "https://shop.example, not https://shop.example/ (it ends with a slash)"),
        (
            "https://a,http://Shop.example:80/",
            "http://shop.example, not http://Shop.example:80/ (it ends with a slash)",
        ),
        ("https://shop.example:443", "https://shop.example, not https://shop.example:443"),
    ],
)
def test_an_origin_that_browsers_write_in_another_way_is_told_as_they_do(given: str, meant: str) -> None:
    """Above all without the slash at the end, with which addresses are copied."""
    with pytest.raises(SettingError) as caught:
        parse_settings({"HTTP_CORS_ORIGINS": given})
    assert str(caught.value) == f"HTTP_CORS_ORIGINS must name origins as browsers send them: {meant}"


def test_an_address_may_leave_out_the_host() -> None:
    """`:8080` is every interface; an IPv6 address stands in brackets."""
    assert parse_settings({"HTTP_ADDR": ":8080"}).http_address == Address("", 8080)
    assert parse_settings({"HTTP_ADDR": "[::1]:8080"}).http_address == Address("::1", 8080)


@given(password=st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1))
def test_the_url_for_dbmate_quotes_what_it_holds(password: str) -> None:
    """Whatever the password is, the URL keeps its shape."""
    url = parse_settings({"POSTGRES_PASSWORD": password, "POSTGRES_USER": "a@b:c/d"}).postgres_url()
    head, _, rest = url.partition("@")
    assert head.startswith("postgres://a%40b%3Ac%2Fd:")
    assert rest == "127.0.0.1:55432/order_service?sslmode=disable"


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.env` fills in what the environment does not say."""
    env_file = tmp_path / ".env"
    env_file.write_text("KAFKA_TOPIC=from-file\nKAFKA_GROUP_ID=from-file\n")
    monkeypatch.setenv("KAFKA_TOPIC", "from-environment")
    settings = load_settings(env_file)
    assert (settings.kafka_topic, settings.kafka_group_id) == ("from-environment", "from-file")


@pytest.mark.parametrize(
    ("given", "missing"),
    [("KAFKA_SASL_PASSWORD", "KAFKA_SASL_USERNAME"), ("KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD")],
)
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_a_login_has_a_name_and_a_password(protocol: str, given: str, missing: str) -> None:
    """Half a login would be refused by every broker. Without a login there need be neither."""
    with pytest.raises(SettingError, match=f"^{missing} must be set when KAFKA_SECURITY_PROTOCOL is {protocol}$"):
        parse_settings({"KAFKA_SECURITY_PROTOCOL": protocol, given: "swordfish"})
    parse_settings({"KAFKA_SECURITY_PROTOCOL": "SSL"})


def test_only_a_mode_that_checks_certificates_gives_dbmate_the_authority() -> None:
    """`prefer` takes any certificate: an authority would turn it into another mode."""
    urls = {
        mode: parse_settings({"POSTGRES_SSL_MODE": mode, "POSTGRES_SSL_ROOT_CERT": "/a b/ca.pem"}).postgres_url()
        for mode in ("disable", "prefer", "require", "verify-full")
    }
    assert {mode for mode, url in urls.items() if "sslrootcert=%2Fa%20b%2Fca.pem" in url} == {"require", "verify-full"}
