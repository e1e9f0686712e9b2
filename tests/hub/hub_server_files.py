"""The Hub's files to test against: downloads, LFS uploads, and the storage that holds large files elsewhere."""

import hashlib
import re

from hub_server_api import Answer, Call, as_json
from hub_server_state import Grant, HubError, HubState


def resolve(state: HubState, call: Call, name: str, revision: str, path: str, kind: str | None = None) -> Answer:
    """A file of a revision; of a large one only where it is, as the real one sends clients on to its storage."""
    repo = state.repo(call.user, kind, name)
    commit = repo.resolve(revision)
    headers = {"X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
    if path not in commit.files:
        headers |= {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
        return as_json({"error": "Entry not found"}, 404, headers)
    blob = commit.files[path]
    headers["Content-Disposition"] = f'inline; filename="{path.rpartition("/")[2]}";'
    headers["ETag"] = f'"{blob.etag}"'
    if not blob.lfs:
        return ranged(call, blob.content, headers)
    location = state.storage_url(state.grant(repo, "read", blob.sha256, blob.size))
    headers |= {"Location": location, "X-Linked-Size": str(blob.size), "X-Linked-Etag": f'"{blob.sha256}"'}
    return Answer(b"", 302, headers)


def ranged(call: Call, content: bytes, headers: dict[str, str]) -> Answer:
    """The part of the content that the request's Range names, or all of it."""
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", call.headers.get("range", ""))
    if not asked or not any(asked.groups()):
        return Answer(content, 200, headers)
    first, last = asked.groups()
    start = int(first) if first else max(0, len(content) - int(last))
    end = min(int(last) + 1, len(content)) if first and last else len(content)
    if start >= end:
        return Answer(b"", 416, {**headers, "Content-Range": f"bytes */{len(content)}"})
    return Answer(content[start:end], 206, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(content)}"})


def lfs_batch(state: HubState, call: Call, name: str, kind: str | None = None) -> Answer:
    """Where each object goes; an object that the repository has already needs no upload."""
    repo, payload = state.writable(call.user, kind, name), call.json()
    objects = []
    for asked in payload["objects"]:
        oid, size = asked["oid"], asked["size"]
        entry: dict = {"oid": oid, "size": size}
        if oid not in repo.objects:
            key = state.grant(repo, "write", oid, size)
            upload = {"href": state.storage_url(key)}
            verify = {"href": f"{state.endpoint}{call.path.removesuffix('objects/batch')}verify"}
            entry["actions"] = {"upload": upload, "verify": verify}
        objects.append(entry)
    return as_json({"transfer": "basic", "objects": objects})


def lfs_verify(state: HubState, call: Call, name: str, kind: str | None = None) -> Answer:
    repo, asked = state.writable(call.user, kind, name), call.json()
    content = repo.objects.get(asked["oid"])
    if content is None:
        raise HubError(404, f"Object {asked['oid']} does not exist")
    if len(content) != asked["size"]:
        raise HubError(422, f"Object {asked['oid']} has {len(content)} bytes; expected {asked['size']}")
    return as_json({})


def put_object(state: HubState, call: Call, oid: str) -> Answer:
    grant = _signed(state, call, oid, "write")
    if len(call.body) != grant.size or hashlib.sha256(call.body).hexdigest() != oid:
        raise HubError(422, f"{len(call.body)} bytes whose SHA-256 is not {oid} of {grant.size} bytes")
    grant.repo.objects[oid] = call.body
    return Answer()


def get_object(state: HubState, call: Call, oid: str) -> Answer:
    grant = _signed(state, call, oid, "read")
    return ranged(call, grant.repo.objects[oid], {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})


def _signed(state: HubState, call: Call, oid: str, action: str) -> Grant:
    if "authorization" in call.headers:
        # As S3 does with a signed address: it also shows that a token left the Hub.
        raise HubError(400, "Only one auth mechanism allowed")
    grant = state.grants.get(call.query.get("signature", [""])[0])
    if grant is None or grant.action != action or grant.oid != oid:
        raise HubError(403, "SignatureDoesNotMatch")
    return grant
