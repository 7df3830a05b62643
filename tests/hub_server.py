"""A small Hugging Face hub on a free local port, as far as sharing a folder needs it.

    with hub() as server:
        server.url                                # for HF_ENDPOINT
        server.repositories["models/a/b"]         # what was made there

Repositories with branches and commits; small files in the commit, larger ones as LFS does it. The
token `WRITER` may do everything, `READER` may only read; others are unknown.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from loopback import serving

WRITER, READER = "hf_writer", "hf_reader"
LARGE = 100_000  # bytes from which a file goes the way of LFS
Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Repository:
    private: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)

    def add(self, branch: str, files: dict[str, bytes], message: str) -> str:
        sha = hashlib.sha1(f"{message}{len(self.commits)}".encode()).hexdigest()
        self.commits.append((sha, files))
        self.messages.append(message)
        self.branches[branch] = sha
        return sha

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        sha = self.branches.get(revision, revision)
        return next((found for found in self.commits if found[0] == sha), None)

    @property
    def files(self) -> dict[str, bytes]:
        """On main, but for the file that every repository begins with."""
        found = self.at("main")
        assert found is not None
        return {n: data for n, data in found[1].items() if n != ".gitattributes"}


@dataclass
class Hub:
    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    cut: str | None = None  # the line breaks where a path has this in it

    def answer(self, method: str, path: str, token: str, body: bytes) -> Reply:
        if token not in ("", WRITER, READER):
            return _refused(401, message="Invalid credentials in Authorization header")
        if method == "PUT" and path.startswith("/lfs/"):
            self.large[path.removeprefix("/lfs/")] = body
            return _json({})
        if method == "POST" and token != WRITER and path != "/api/validate-yaml":
            return _refused(403 if token else 401, message="You have no right to write")
        if path == "/api/validate-yaml":
            return _checked(json.loads(body)["content"])
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if match := re.fullmatch(r"/api/((?:models|datasets)/[^/]+/[^/]+)(?:/(.*))?", path):
            found = self._seen(match[1], token)
            if found is None:
                return _refused(404, "RepoNotFound")
            return self._about(match[1], found, match[2] or "", body)
        if match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+?)\.git/info/lfs/objects/batch", path):
            objects = json.loads(body)["objects"]
            return _json({"transfer": "basic", "objects": [self._way(one) for one in objects]})
        if match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            found = self._seen(f"{match[1] or 'models/'}{match[2]}", token)
            place = found and found.at(unquote(match[3]))
            if not place or match[4] not in place[1]:
                return _refused(404, "EntryNotFound")
            data = place[1][match[4]]
            return 200, {"x-repo-commit": place[0], "etag": f'"{_oid(data)}"'}, data
        return _refused(404)

    def _seen(self, name: str, token: str) -> Repository | None:
        found = self.repositories.get(name)
        return None if found is None or (found.private and not token) else found

    def _create(self, asked: dict[str, Any]) -> Reply:
        kind = f"{asked.get('type') or 'model'}s"
        name = f"{kind}/{asked['organization']}/{asked['name']}"
        url = f"{self.url}/{name.removeprefix('models/')}"
        if name in self.repositories:
            return _json({"error": "You already created this repo", "url": url}, 409)
        private = asked.get("private") or asked.get("visibility") == "private"
        self.repositories[name] = Repository(private)
        self.repositories[name].add("main", {".gitattributes": b"*.zst filter=lfs\n"}, "initial")
        return _json({"url": url})

    def _about(self, name: str, found: Repository, rest: str, body: bytes) -> Reply:
        verb, _, revision = rest.partition("/")
        if verb == "branch":
            if revision in found.branches:
                return _json({"error": "exists"}, 409)
            found.branches[revision] = found.branches["main"]
            return _json({})
        branch = unquote(revision) or "main"
        place = found.at(branch)
        if place is None:
            return _refused(404, "RevisionNotFound")
        sha, files = place
        if verb in ("", "revision"):
            siblings = [{"rfilename": file} for file in files]
            identity = name.partition("/")[2]
            about = {"id": identity, "sha": sha, "private": found.private, "siblings": siblings}
            return _json(about)
        if verb == "tree":
            return _json([_entry(file, data) for file, data in files.items()])
        if verb == "preupload":
            return _json({"files": [_mode(one, files) for one in json.loads(body)["files"]]})
        assert verb == "commit"
        rows = [json.loads(line) for line in body.splitlines()]
        sha = found.add(branch, self._changed(files, rows), rows[0]["value"]["summary"])
        url = f"{self.url}/{name.removeprefix('models/')}/commit/{sha}"
        return _json({"success": True, "commitOid": sha, "commitUrl": url})

    def _changed(self, files: dict[str, bytes], rows: list[dict[str, Any]]) -> dict[str, bytes]:
        files = dict(files)
        for row in rows:
            value = row["value"]
            if row["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif row["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            elif row["key"] == "deletedFile":
                del files[value["path"]]
        return files

    def _way(self, one: dict[str, Any]) -> dict[str, Any]:
        upload = {"upload": {"href": f"{self.url}/lfs/{one['oid']}"}}
        return {**one, **({} if one["oid"] in self.large else {"actions": upload})}


def _mode(one: dict[str, Any], files: dict[str, bytes]) -> dict[str, Any]:
    known = files.get(one["path"])
    mode = "lfs" if one["size"] >= LARGE else "regular"
    told = {"path": one["path"], "uploadMode": mode, "shouldIgnore": False}
    return told | ({} if known is None else {"oid": _oid(known)})


def _entry(name: str, data: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}
    if len(data) >= LARGE:
        entry["lfs"] = {"oid": _oid(data), "size": len(data), "pointerSize": 130}
    return entry


def _oid(data: bytes) -> str:
    if len(data) >= LARGE:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _checked(page: str) -> Reply:
    """What the hub says of a page's header."""
    match = re.match(r"---\n(.*?)\n---\n", page, re.DOTALL)
    if match and not isinstance(yaml.safe_load(match[1]), dict):
        return _json({"errors": [{"message": "no mapping"}], "warnings": []}, 400)
    return _json({"errors": [], "warnings": []})


def _json(value: Any, status: int = 200) -> Reply:
    return status, {"content-type": "application/json"}, json.dumps(value).encode()


def _refused(status: int, code: str = "", message: str = "") -> Reply:
    named = {"x-error-code": code, "x-error-message": message}
    return status, {name: value for name, value in named.items() if value}, b""


@contextmanager
def hub() -> Iterator[Hub]:
    served = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            path = urlsplit(self.path).path
            served.requests.append(f"{self.command} {path}")
            if served.cut and served.cut in path:
                self.close_connection = True
                return
            token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
            status, headers, data = served.answer(self.command, path, token, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_PUT = handle_any

        def log_message(self, *args: object) -> None:
            pass

    with serving(Handler) as address:
        served.url = address
        yield served
