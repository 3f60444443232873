"""Answers as the service gives them."""

import httpx


def job(status, done=0, **more):
    progress = {"phase": "computing", "done": done, "total": 2, "unit": "maps"}
    return {"id": "j", "status": status, "progress": progress, **more}


def ok(body, status=200, **headers):
    return httpx.Response(status, json=body, headers=headers)


def problem(status, code="no", headers=None, **members):
    body = {"code": code, "detail": "no", "status": status, **members}
    return httpx.Response(status, json=body, headers={"Content-Type": "application/problem+json", **(headers or {})})


def stream(*blocks):
    return httpx.Response(200, text="".join(blocks), headers={"Content-Type": "text/event-stream"})


def event(number, name="progress", data='{"phase":"computing","done":1,"total":2,"unit":"maps"}'):
    return f"id: {number}-0\nevent: {name}\ndata: {data}\n\n"
