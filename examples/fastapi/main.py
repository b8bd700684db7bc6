"""A FastAPI backend that shares no secret with the auth service: it verifies tokens by the published keys.

    AUTH_ISSUER=http://localhost:3001 API_AUDIENCE=api uvicorn main:app --port 8000

PyJWT knows signatures and times. It does not follow status lists, so a token lives on after its session has ended, until it
expires: put `keywheel gate` before an API that must hear of a sign-out at once, or keep its tokens short.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

ISSUER = os.environ.get("AUTH_ISSUER", "http://localhost:3001")
AUDIENCE = os.environ.get("API_AUDIENCE", "api")
# Named here, and never taken from a token.
ALGORITHMS = ["EdDSA", "RS256"]
REQUIRED = ["exp", "iat", "iss", "sub", "aud"]

app = FastAPI()
# The front end's pages may call, with their tokens. There are no cookies here, so none are allowed.
WEB_ORIGIN = os.environ.get("WEB_ORIGIN", "http://localhost:3000")
app.add_middleware(
    CORSMiddleware,
    allow_origins=[WEB_ORIGIN],
    allow_methods=["GET", "POST"],
    allow_headers=["Authorization", "Content-Type"],
    expose_headers=["WWW-Authenticate"],
)
# Keeps the key set for as long as it is served with, and asks again for a key that it does not know.
keys = jwt.PyJWKClient(f"{ISSUER}/.well-known/jwks.json", lifespan=300)
bearer = HTTPBearer(auto_error=False)


def unauthorized(description: str | None = None) -> HTTPException:
    challenge = "Bearer" if description is None else f'Bearer error="invalid_token", error_description="{description}"'
    return HTTPException(401, description or "The access token is missing", {"WWW-Authenticate": challenge})


def current_user(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> dict:
    """The claims of whoever calls."""
    if credentials is None:
        raise unauthorized()
    try:
        key = keys.get_signing_key_from_jwt(credentials.credentials)
        return jwt.decode(
            credentials.credentials,
            key,
            algorithms=ALGORITHMS,
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=5,
            options={"require": REQUIRED},
        )
    except jwt.PyJWKClientConnectionError as error:
        raise HTTPException(503, "The keys cannot be had at the moment", {"Retry-After": "1"}) from error
    except jwt.ExpiredSignatureError as error:
        raise unauthorized("The access token expired") from error
    except jwt.PyJWTError as error:
        raise unauthorized("The access token is invalid") from error


CurrentUser = Annotated[dict, Depends(current_user)]


class Personalize(BaseModel):
    topic: str


@app.post("/api/personalize")
def personalize(request: Personalize, user: CurrentUser) -> dict:
    background = user.get("softwareBackground", "none")
    return {"user": user["sub"], "content": f"{request.topic}, for somebody with the background {background}"}


def owner(user_id: str, user: CurrentUser) -> str:
    """Tasks are their owner's alone: the path may name only the one whom the token names."""
    if user["sub"] != user_id:
        raise HTTPException(403, "These tasks are somebody else's")
    return user_id


def scope(wanted: str) -> Callable[[dict], dict]:
    """A guard for what needs more than a token: 403, and the scope that would do (RFC 6750)."""

    def granted(user: CurrentUser) -> dict:
        if wanted not in user.get("scope", "").split(" "):
            challenge = f'Bearer error="insufficient_scope", scope="{wanted}"'
            raise HTTPException(403, "The access token does not allow this", {"WWW-Authenticate": challenge})
        return user

    return granted


def database() -> Iterator[sqlite3.Connection]:
    # FastAPI may begin and end a request on different threads; one connection is never used by two at once.
    connection = sqlite3.connect(os.environ.get("TASKS_DB", "tasks.db"), check_same_thread=False)
    try:
        connection.execute("create table if not exists tasks (owner text not null, title text not null)")
        yield connection
    finally:
        connection.close()


Owner = Annotated[str, Depends(owner)]
Database = Annotated[sqlite3.Connection, Depends(database)]


class Task(BaseModel):
    title: str


@app.get("/api/{user_id}/tasks")
def tasks(user_id: Owner, rows: Database) -> list[dict]:
    found = rows.execute("select title from tasks where owner = ? order by rowid", [user_id])
    return [{"owner": user_id, "title": title} for (title,) in found]


@app.post("/api/{user_id}/tasks", status_code=201, dependencies=[Depends(scope("tasks:write"))])
def add_task(user_id: Owner, task: Task, rows: Database) -> dict:
    with rows:
        rows.execute("insert into tasks values (?, ?)", [user_id, task.title])
    return {"owner": user_id, "title": task.title}
