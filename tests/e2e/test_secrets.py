"""Secrets are in no output, log, message or title, whether servers answer or not.

Those of the servers (in a URL, and in PGPASSWORD as `docker-compose.yml` gives it), and those of
people: passwords that are right or wrong, sessions, their CSRF tokens, links. What an answer must
hold, such as a session's cookie for who logs in, stands in that answer alone.
"""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

import pytest
import redis
import sqlalchemy as sa

from tests.faults.test_kills import write_pictures
from tests.processes import Place
from tests.servers import execute, with_name

DATABASE_WORD = "Canary-database-9c1e"
BROKER_WORD = "Canary-broker-4d7a"
PG_WORD = "Canary-pgpassword-83f0"
PASSWORD = "Canary-of-Ann-5b2e"
WRONG_PASSWORD = "Canary-of-nobody-a617"
WORDS = (DATABASE_WORD, BROKER_WORD, PG_WORD, PASSWORD, WRONG_PASSWORD)


@pytest.fixture
def guarded(tmp_path: Path, postgresql_url: str, redis_url: str) -> Iterator[Place]:
    """Both servers with a password; PostgreSQL lets anybody in, but is told two all the same."""
    client = redis.Redis.from_url(redis_url, protocol=2)
    client.config_set("requirepass", BROKER_WORD)
    client.close()
    url = sa.make_url(postgresql_url).set(password=DATABASE_WORD)
    yield Place(
        home=tmp_path / "home",
        environment={
            "ATELIER_DATABASE_URL": url.render_as_string(hide_password=False),
            "ATELIER_BROKER_URL": redis_url.replace("//", f"//:{BROKER_WORD}@"),
            "PGPASSWORD": PG_WORD,
        },
    )
    administrator(redis_url).config_set("requirepass", "")


def as_composed(place: Place) -> Place:
    """The same installation with the password of PostgreSQL in PGPASSWORD alone."""
    url = sa.make_url(place.database_url)._replace(password=None)
    told = {"ATELIER_DATABASE_URL": url.render_as_string(hide_password=False)}
    return Place(home=place.home, environment=place.environment | told)


def administrator(redis_url: str, password: str = BROKER_WORD) -> redis.Redis:
    return redis.Redis.from_url(redis_url, password=password, protocol=2)


@pytest.mark.timeout(400)
def test_no_secret_is_said_whatever_the_servers_do(
    guarded: Place, redis_url: str, postgresql_server: str, tmp_path: Path
) -> None:
    place, told = guarded, []
    write_pictures(tmp_path / "photos", 12, seed=3)
    place.environment |= {"ATELIER_BATCH_IMAGES": "4", "ATELIER_LOG_FORMAT": "json"}
    told.append(said_by(place, "ingest", str(tmp_path / "photos"), "--json"))
    told.append(everything_on(administrator(redis_url)))
    assert "atelier.tag_batch" in told[-1]  # the messages themselves were read
    name = str(sa.make_url(place.database_url).database)
    (tmp_path / "inbox").mkdir()
    page = f"http://127.0.0.1:{(port := free_port())}/health"
    place.run("users", "add", "Ann", "--role", "admin", stdin=f"{PASSWORD}\n{PASSWORD}\n".encode())
    with (
        place.started("worker") as worker,
        # As a service: without --tls a link is printed for who started it.
        as_composed(place).started("web", "--port", str(port), "--tls") as web,
        place.started("watch", str(tmp_path / "inbox")) as watch,
    ):
        place.wait_until(
            lambda: place.scalar("SELECT count(*) FROM products WHERE status = 'queued'") == 0,
            timeout_s=120,
            what="all tagged",
        )
        place.wait_until(lambda: answer_of(page)[0] == 200, timeout_s=60, what="the page answers")
        # Ann comes in by her password, and by one of two links.
        link, unused_link = (
            place.run("users", "link", "Ann").strip().rpartition("/")[2] for _ in range(2)
        )
        session = entered(ask(port, "/login", form={"name": "Ann", "password": PASSWORD}))
        by_link = entered(ask(port, f"/enter/{link}", form={}))
        csrf = re.findall('<meta name="csrf" content="(.{20,}?)">', ask(port, "/", session).text)
        words = (*WORDS, link, unused_link, session, by_link, *csrf)
        assert len(words) == 10
        used_up = ask(port, f"/enter/{link}", form={})
        assert used_up.status == 403
        told.append(used_up.text.replace(f"/enter/{link}", "its own address"))
        wrong = ask(port, "/login", form={"name": "Ann", "password": WRONG_PASSWORD})
        assert wrong.status == 403
        odd = ask(port, "/api/default/reviews", session, form={}, csrf=csrf[0])
        assert odd.status == 422
        told += [wrong.text, odd.text]
        told.append(said_by(place, "users", "list", "--json"))
        assert "Ann" in told[-1]
        # A log-in that the database breaks off: the log tells the statement.
        execute(place.database_url, BREAK_LOG_INS)
        broken = ask(port, "/login", form={"name": "Ann", "password": PASSWORD})
        assert broken.status == 500
        told.append(broken.text)
        execute(place.database_url, "DROP TRIGGER broken ON web_sessions")
        place.wait_until(
            lambda: "INSERT INTO web_sessions" in web.text(), timeout_s=60, what="it is logged"
        )
        assert "'csrf': '" not in web.text()
        titles = list(titles_of_processes())
        assert any("worker" in title for title in titles)
        told += titles
        # Both servers throw everybody out and let nobody in.
        administrator(redis_url).config_set("requirepass", "another-word")
        administrator(redis_url, "another-word").client_kill_filter(_type="normal", skipme=True)
        maintenance = with_name(postgresql_server, "postgres")
        execute(maintenance, f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        execute(
            maintenance,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        try:
            place.wait_until(
                lambda: "database_away" in worker.text() and "invalid username" in worker.text(),
                timeout_s=60,
                what="both are missed in the log",
            )
            (tmp_path / "inbox" / "late.zip").write_bytes(b"PK\x03\x04 and no more")
            for command in (
                ["status"],
                ["status", "--json"],
                ["check", "--json"],
                ["products", "list", "--json"],
                ["review", "list", "--json"],
            ):
                told.append(said_by(place, *command))
                assert "not currently accepting connections" in told[-1]
            status, body = answer_of(page)
            assert status == 503
            told.append(body)
            for unanswered in (
                ask(port, "/login", form={"name": "Ann", "password": PASSWORD}),
                ask(port, "/login", form={"name": "Ann", "password": WRONG_PASSWORD}),
                ask(port, f"/enter/{unused_link}", form={}),
                ask(port, "/", session),
                ask(port, "/api/default/reviews", session, form={}, csrf=csrf[0]),
            ):
                assert unanswered.status >= 500
                told.append(unanswered.text)
            told += titles_of_processes()
            place.wait_until(
                lambda: "not currently accepting connections" in watch.text(),
                timeout_s=60,
                what="it is missed where the drop folder is watched",
            )
        finally:
            execute(maintenance, f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
            administrator(redis_url, "another-word").config_set("requirepass", BROKER_WORD)
        told += [worker.text(), web.text(), watch.text()]
    place.environment["ATELIER_BROKER_URL"] = f"redis://:{BROKER_WORD}@127.0.0.1:1/0"
    told.append(said_by(place, "check", "--json"))
    assert '"does not answer"' in told[-1]
    told.append(everything_on(administrator(redis_url)))
    told += [path.read_bytes().decode(errors="replace") for path in files_below(place.home)]
    for text in told:
        assert [word for word in words if word in text] == [], text[:2000]
    with place.database() as database:
        for table in sa.inspect(database.get_bind()).get_table_names():
            # A session's CSRF token stands beside its sha256, and opens nothing without it.
            kept = (word for word in words if table != "web_sessions" or word not in csrf)
            rows = "\n".join(
                database.scalars(sa.text(f"SELECT CAST({table} AS text) FROM {table}"))
            )
            assert [word for word in kept if word in rows] == [], table


BREAK_LOG_INS = """
CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no space left, says this test'; END $$;
CREATE TRIGGER broken BEFORE INSERT ON web_sessions EXECUTE FUNCTION broken();
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a browser is answered."""

    status: int
    text: str
    cookies: SimpleCookie


def ask(
    port: int,
    path: str,
    session: str = "",
    *,
    form: dict[str, str] | None = None,
    csrf: str = "",
) -> Answer:
    """Ask for a page, or send it a form; nobody is followed anywhere."""
    headers = {"Cookie": f"atelier_session={session}", "X-CSRF-Token": csrf}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        if form is None:
            connection.request("GET", path, headers=headers)
        else:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            connection.request("POST", path, urlencode(form), headers)
        answer = connection.getresponse()
        return Answer(
            status=answer.status,
            text=answer.read().decode(),
            cookies=SimpleCookie(answer.headers["Set-Cookie"]),
        )
    finally:
        connection.close()


def entered(answer: Answer) -> str:
    """The session of who was let in."""
    assert answer.status == 303
    return answer.cookies["atelier_session"].value


def said_by(place: Place, *arguments: str) -> str:
    """All that a command says, on both streams, whether it works or not."""
    done = subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        env=place._all_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answer_of(url: str) -> tuple[int, str]:
    """Status and text, of an error, too; 0 while nobody listens there."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except urllib.error.URLError as error:
        return 0, str(error)


def everything_on(client: redis.Redis) -> str:
    """Every key of a Redis with what it holds."""
    found = []
    for key in client.keys("*"):
        match client.type(key):
            case b"list":
                found.append((key, client.lrange(key, 0, -1)))
            case b"hash":
                found.append((key, client.hgetall(key)))
            case b"set":
                found.append((key, client.smembers(key)))
            case b"zset":
                found.append((key, client.zrange(key, 0, -1, withscores=True)))
            case _:
                found.append((key, client.get(key)))
    return repr(found)


def titles_of_processes() -> Iterator[str]:
    """What every account of this machine may read of every process."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue


def files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
