"""The URL of a database: read as libpq reads it, shown without its secrets, and every mistake told without the URL."""

from __future__ import annotations

import pickle
import traceback

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from wgjit.database_url import _DEFAULTS, PARAMETERS, DatabaseUrl, without_urls
from wgjit.errors import InvalidValue

SECRET = "hunter2-Zq8"


def by_libpq(text: str) -> dict[str, str] | None:
    """The parameters that libpq finds; None if it refuses the text."""
    try:
        return {name: str(value) for name, value in conninfo_to_dict(text).items() if value}
    except (psycopg.Error, ValueError):
        return None


def test_every_parameter_of_the_drivers_libpq_is_known() -> None:
    assert {option.keyword.decode() for option in pq.Conninfo.get_defaults()} <= PARAMETERS


WORDS = ("host", "port", "dbname", "password", "sslmode", "require", "ssl")
PARTS = st.lists(
    st.sampled_from([*":@/?&=,[]uh5ä", "::1", "%41", "%4", "%zz", "%C3%A4", "%2F", "a-b_c.d", "true", "x", *WORDS]),
    max_size=14,
)


@given(PARTS)
def test_what_is_taken_is_what_libpq_takes(parts: list[str]) -> None:
    """A URL may be refused that libpq would take: one with a mistake in it that libpq would find when it connects."""
    text = "postgresql://" + "".join(parts)
    try:
        url = DatabaseUrl(text)
    except InvalidValue:
        return
    assert by_libpq(text) == url._parameters
    assert by_libpq(url.reveal()) == _DEFAULTS | url._parameters
    assert DatabaseUrl(url.reveal()) == url
    assert hash(DatabaseUrl(url.reveal())) == hash(url)


HOSTS = st.lists(st.sampled_from(["db1", "db1:5433", "[::1]", "[::1]:1", "10.0.0.1", ""]), min_size=1, max_size=3)
QUERIES = st.lists(
    st.sampled_from(["sslmode=verify-full", "host=/run/pg", "passfile=/x%20y", "password=a%26b", "options=-c%20x%3D1"]),
    max_size=3,
)


@given(
    st.sampled_from(["", "w@", "w:p%40%2F:@", ":p@", "w:@"]),
    HOSTS,
    st.sampled_from(["", "/", "/wgjit", "/a%2Fb"]),
    QUERIES,
)
def test_every_url_that_people_write_is_taken(user: str, hosts: list[str], path: str, query: list[str]) -> None:
    text = f"postgresql://{user}{','.join(hosts)}{path}" + (f"?{'&'.join(query)}" if query else "")
    wanted = by_libpq(text)
    assert wanted is not None
    if "host=/run/pg" in query and len(hosts) > 1:  # the query replaces the hosts, and their ports stay
        with pytest.raises(InvalidValue, match="port"):
            DatabaseUrl(text)
    else:
        assert DatabaseUrl(text)._parameters == wanted


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("postgresql:/u:SECRET@h/db", "write postgresql://USER@HOST/DATABASE"),
        ("mysql://u:SECRET@h/db", "write postgresql://USER@HOST/DATABASE"),
        ("postgresql://u:SECRET/x", "port: write a number from 1 to 65535"),
        ("postgresql://u:SECRET/x@h/db", "has a / or @ too many"),
        ("postgresql://u:12/SECRET@h/db", "has a / or @ too many"),
        ("postgresql://u:x@SECRET@h/db", "has an @ too many"),
        ("postgresql://h/db/SECRET", "has a / or @ too many"),
        ("postgresql://u:SECRET%@h/db", "write special characters as %XX"),
        ("postgresql://u:SECRET%00@h/db", "write special characters as %XX"),
        ("postgresql://u:SECRET%ff@h/db", "is not UTF-8"),
        ("postgresql://u:SEC RET@h/db", "write it as %20"),
        ("postgresql://u:SECRET@h:99999/db", "port: write a number from 1 to 65535"),
        ("postgresql://u:SECRET@a,b,c:1,d/db?port=1,2", "port: write one for all hosts, or as many as there are hosts"),
        ("postgresql://u@a,b/db?hostaddr=10.0.0.1&password=SECRET", "hostaddr: write as many as there are hosts"),
        ("postgresql://u:SECRET@::1/db", "an IPv6 address in brackets"),
        ("postgresql://u:SECRET@[::1/db", "an IPv6 address in brackets"),
        ("postgresql://u:SECRET@[::1]5/db", "with a port as HOST:PORT"),
        ("postgresql://u:SECRET@h/db?sslmod=verify-full", "did you mean sslmode?"),
        ("postgresql://u@h/db?SECRET=1", "has a parameter that libpq does not know"),
        ("postgresql://u@h/db?SECRET", "as NAME=VALUE"),
        ("postgresql://u@h/db?password=a=SECRET", "= and & of a value as %3D and %26"),
        ("postgresql://u:SECRET@h/db?sslmode=verify", "sslmode: write one of allow, disable, prefer, require, verify-"),
        (
            "postgresql://u:SECRET@h/db?target_session_attrs=rw",
            "target_session_attrs: write one of any, prefer-standby",
        ),
        ("postgresql://u:SECRET@h/db?connect_timeout=soon", "connect_timeout: write a whole number"),
    ],
)
def test_a_mistake_is_told_with_its_fix_and_without_the_url(text: str, fix: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        DatabaseUrl(text.replace("SECRET", SECRET).replace("SEC RET", SECRET[:6] + " " + SECRET[6:]))
    assert str(caught.value).startswith("the PostgreSQL URL")
    assert fix in str(caught.value)
    assert caught.value.field == "store.url"
    assert SECRET[:6] not in "".join(traceback.format_exception(caught.value))


def test_it_tells_what_is_no_secret() -> None:
    url = DatabaseUrl(f"postgresql://w:{SECRET}@db1:1,[2001:db8::1]:2/wgjit?sslmode=require")
    assert str(url) == "postgresql://db1:1,[2001:db8::1]:2/wgjit"
    assert (url.hosts, url.parameter("sslmode"), url.parameter("passfile")) == (["db1", "2001:db8::1"], "require", None)
    assert url.has_password
    assert not DatabaseUrl("postgresql://w@db1/wgjit?passfile=/x").has_password
    assert DatabaseUrl("postgresql:///wgjit").hosts == []
    with pytest.raises(KeyError):
        url.parameter("password")
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(url)


def test_a_text_for_people_has_no_urls() -> None:
    for url in (f"postgresql://u:{SECRET}@h/db", f"postgres:/u:{SECRET}@h", f"postgresql:///db?password={SECRET}"):
        assert SECRET not in without_urls(f"No such option: {url} (see --help)")
    assert without_urls("No such option: postgres://u:x@h (see") == "No such option: postgres://(left out) (see"
    assert without_urls("a postgresql URL") == "a postgresql URL"
