"""Goal: who sends back the token of a write reads that write, or is told that it is not there yet."""

import uuid

import pytest

import processes
import weir as house

SCHEMA = "CREATE TABLE notes (tenant TEXT, id TEXT, text TEXT NOT NULL);"

HANDLERS = {
    # It says nothing of the copies that it makes old: only the token can tell.
    "note_add.sql": """-- POST /t/notes
-- body text: text
INSERT INTO notes (tenant, id, text) VALUES (:tenant, :idempotency_key, :text);
""",
    "note_list.sql": """-- GET /t/notes
-- cache: 1h
-- tags: elsewhere
SELECT text FROM notes WHERE tenant = :tenant ORDER BY text;
""",
    "note_count.sql": """-- GET /t/count
-- returns: one
SELECT count(*) AS notes FROM notes;
""",
}


def write(weir, text):
    reply = weir.post("/t/notes", {"text": text}, uuid.uuid4().hex)
    assert reply.status == 202
    return reply


def texts(reply):
    assert reply.status == 200
    return [row["text"] for row in reply.json()]


def by_header(reply):
    return {"X-Weir-Consistency": reply.header("X-Weir-Consistency")}


def by_cookie(reply):
    return {"Cookie": "theme=dark; " + reply.header("Set-Cookie").split(";")[0] + "; lang=de"}


def test_the_token_is_the_events_id(weir):
    reply = write(weir, "token")
    token = reply.header("X-Weir-Consistency")
    assert reply.header("Location").endswith(f"/operations/{token}")
    assert reply.header("Set-Cookie") == f"weir-consistency={token}; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"


@pytest.mark.parametrize("token", [by_header, by_cookie])
def test_a_read_with_its_token_shows_the_write_although_an_older_copy_is_fresh(weir, token):
    weir.get("/t/notes")
    text = token.__name__
    reply = write(weir, text)
    after = weir.get("/t/notes", token(reply))
    assert text in texts(after) and after.header("X-Weir-Pending") is None
    assert "hit" not in after.header("Cache-Status")
    assert text in texts(weir.get("/t/notes")), "and the copy that it made is everybody's"


def test_a_read_without_it_may_see_the_older_copy(weir):
    weir.get("/t/notes")
    weir.wait_operation(write(weir, "unseen").header("Location"))
    plain = weir.get("/t/notes")
    assert "unseen" not in texts(plain) and "hit" in plain.header("Cache-Status")


def test_while_the_write_is_not_applied_the_read_says_so_and_is_not_kept(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA)
    weir.get("/t/notes")
    with house.consumer_place(weir.state):
        token = by_header(write(weir, "late"))
        early = weir.get("/t/notes", token)
        assert texts(early) == [] and early.header("X-Weir-Pending") == "true"
        assert early.header("Cache-Control") == "private, no-store" or early.header("Cache-Control") == "no-store"
        assert weir.get("/t/count", token).header("X-Weir-Pending") == "true", "an answer that is never kept too"
    processes.wait_until(
        lambda: weir.get("/t/notes", token).header("X-Weir-Pending") is None, "the write", alive=[weir.serve]
    )
    assert texts(weir.get("/t/notes", token)) == ["late"]


def test_several_tokens_are_all_shown(weir):
    replies = [write(weir, f"several {i}") for i in range(3)]
    tokens = ", ".join(reply.header("X-Weir-Consistency") for reply in replies)
    seen = texts(weir.get("/t/notes", {"X-Weir-Consistency": tokens}))
    assert {f"several {i}" for i in range(3)} <= set(seen)


@pytest.mark.parametrize("token", ["x", "", "00000000-0000-8000-8000-00000000000G", ", ".join([str(uuid.uuid4())] * 9)])
def test_what_is_no_token_is_refused_in_the_header_and_ignored_in_the_cookie(weir, token):
    reply = weir.get("/t/count", {"X-Weir-Consistency": token})
    assert reply.status == (400 if token else 200)
    assert weir.get("/t/count", {"Cookie": f"weir-consistency={token}"}).status == 200


def test_a_token_of_nothing_is_a_write_that_is_not_there_yet(weir):
    reply = weir.get("/t/count", {"X-Weir-Consistency": str(uuid.uuid4())})
    assert reply.status == 200 and reply.header("X-Weir-Pending") == "true"


def test_a_write_that_failed_is_not_waited_for(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA.replace("NOT NULL", "NOT NULL CHECK (text <> 'bad')"))
    reply = write(weir, "bad")
    weir.wait_operation(reply.header("Location"), "failed")
    assert weir.get("/t/count", by_header(reply)).header("X-Weir-Pending") is None
