"""The OpenAPI 3.1 document, made from the routes themselves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from attrs import has

from election_core import (
    CODES,
    ElectionError,
    Forbidden,
    InternalError,
    Invalid,
    PayloadTooLarge,
    Unauthenticated,
    Unavailable,
    encode,
)
from election_ctl_api._access import GRANTS, Access, Reach
from election_ctl_api._answers import API_VERSION, PROBLEM_MEDIA_TYPE, problem
from election_ctl_api._examples import body_example, example_of, problem_example
from election_ctl_api._operations import Operation, Parameter
from election_ctl_api._routes import OPERATIONS
from election_ctl_api._schemas import Schema, Schemas

__all__ = ["openapi_document"]

_ABOUT = """Elects one leader per runner group, and only it works.

JSON in UTF-8; times are RFC 3339 in UTC; durations are seconds as numbers. Operator calls refuse
unknown fields, runner calls ignore them; clients ignore unknown fields and enum values. Every call
may be repeated, after a 5xx too. Errors are problem details (RFC 9457) with a `code` to program
against."""

_TAGS = {
    "groups": "Runner groups and their leaders.",
    "events": "What happened, in pages or live.",
    "runners": "Registration, taints and drains.",
    "sessions": "A runner's process lifetimes: opening, renewing, releasing, leaving.",
    "jobs": "Units of work, their claims and settlements.",
    "tokens": "Who may call.",
    "service": "The service itself.",
}
_PATH_PARAMETERS = {
    "group": "The group's id: `[a-z0-9][a-z0-9._-]{0,62}`.",
    "runner_id": "The runner's id.",
    "session_id": "The session's id.",
    "job_id": "The job's id.",
    "token_id": "The token's id; not its secret.",
}
_PATH_EXAMPLES = {
    "group": "builds",
    "runner_id": "runner-5f0c2a7d9be14603a1c8",
    "session_id": "session-8d1f6e0a3c57b924f6d0",
    "job_id": "job-0b9a7c3e5d1f2468ace0",
    "token_id": "tok-1c7e5a90b3d24f68",
}
_REACHES = {
    Reach.ALL: "",
    Reach.OWN_GROUP: " (its own group)",
    Reach.OWN_RUNNER: " (its own runner)",
}
_DESCRIPTIONS = {200: "Done.", 201: "Created.", 202: "Accepted.", 204: "Done; nothing to say."}
_HEADERS: Schema = {"Election-Api": {"$ref": "#/components/headers/Election-Api"}}


def openapi_document() -> Schema:
    """The document of all routes."""
    schemas = Schemas()
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        path = paths.setdefault(operation.path, {})
        path[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Election control API",
            "version": API_VERSION,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": said} for name, said in _TAGS.items()],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": {**dict(sorted(schemas.components.items())), "Problem": _problem_schema()},
            "headers": {
                "Election-Api": {
                    "description": "The version of this contract.",
                    "required": True,
                    "schema": {"type": "string", "examples": [API_VERSION]},
                }
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of kind operator, viewer, join or runner.",
                }
            },
        },
    }


def _operation(operation: Operation, schemas: Schemas) -> Schema:
    found: Schema = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": f"{operation.description}\n\n{_tokens(operation.access)}".strip(),
        "parameters": [
            *(_path_parameter(name) for name in operation.path_parameters),
            *(_parameter(parameter, schemas) for parameter in operation.parameters),
        ],
    }
    if operation.access is Access.PUBLIC:
        found["security"] = []
    if operation.body is not None:
        found["requestBody"] = _body(operation, operation.body, schemas)
    found["responses"] = {
        **{str(status): _answer(operation, status, schemas) for status in operation.answers},
        **_problems(operation),
    }
    return found


def _tokens(access: Access) -> str:
    """Who may call, for people."""
    if access is Access.PUBLIC:
        return "Needs no token."
    kinds = (f"{kind.value}{_REACHES[reach]}" for kind, reach in GRANTS[access].items())
    return f"Tokens: {', '.join(kinds)}."


def _path_parameter(name: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": _PATH_PARAMETERS[name],
        "schema": {"type": "string", "maxLength": 64},
        "example": _PATH_EXAMPLES[name],
    }


def _parameter(parameter: Parameter, schemas: Schemas) -> Schema:
    found: Schema = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": {**schemas.of(parameter.type), **parameter.bounds},
    }
    if parameter.example is not None:
        found["example"] = parameter.example
    return found


def _body(operation: Operation, body: type, schemas: Schemas) -> Schema:
    schema = schemas.of(body)
    component = schemas.components[body.__name__]
    if not operation.lenient:
        component["additionalProperties"] = False
    return {
        "required": "required" in component,
        "content": {"application/json": {"schema": schema, "example": body_example(body)}},
    }


def _answer(operation: Operation, status: int, schemas: Schemas) -> Schema:
    found: Schema = {"description": _DESCRIPTIONS[status], "headers": _HEADERS}
    hint = operation.answers[status]
    content: Schema = {}
    if hint not in (None, str):
        content["application/json"] = (
            {"schema": {"type": "object"}, "example": {"openapi": "3.1.0"}}
            if hint is object
            else {"schema": schemas.of(hint), "example": encode(example_of(hint))}
        )
    for media_type in operation.media_types:
        content[media_type] = {"schema": {"type": "string"}, "example": _TEXTS[media_type]}
    if content:
        found["content"] = content
    return found


_TEXTS = {
    "text/event-stream": 'id: 42\nevent: elected\ndata: {"id":42,"kind":"elected","epoch":7}\n\n',
    "text/plain": 'election_groups{state="led"} 12.0\n',
    "text/html": "<!doctype html>",
}


def _problems(operation: Operation) -> Schema:
    """The errors of a route by status, with an example for each code."""
    errors = sorted(_errors(operation), key=lambda cls: (cls.status, cls.code))
    found: Schema = {}
    for status, group in groupby(errors, key=lambda cls: cls.status):
        examples = {
            cls.code: {"summary": cls.title, "value": problem(problem_example(cls))}
            for cls in group
        }
        found[str(status)] = {
            "description": f"Refused: {', '.join(f'`{code}`' for code in examples)}.",
            "headers": _HEADERS | _extra_headers(status),
            "content": {
                PROBLEM_MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": examples,
                }
            },
        }
    return found


def _extra_headers(status: int) -> Schema:
    match status:
        case 401:
            return {"WWW-Authenticate": {"schema": {"type": "string"}, "example": "Bearer"}}
        case 503:
            return {"Retry-After": {"schema": {"type": "integer"}, "example": 1}}
        case _:
            return {}


def _errors(operation: Operation) -> Sequence[type[ElectionError]]:
    found = {*operation.errors, InternalError}
    if operation.access is not Access.PUBLIC:
        found |= {Unauthenticated, Forbidden, Unavailable}
    if operation.parameters or operation.body is not None:
        found.add(Invalid)
    if operation.body is not None and has(operation.body):
        found.add(PayloadTooLarge)
    return list(found)


def _problem_schema() -> Schema:
    return {
        "type": "object",
        "description": "What went wrong (RFC 9457), with facts for programs beside these members.",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
            "code": {"type": "string", "enum": sorted(CODES)},
        },
        "additionalProperties": True,
    }
