"""Executing a planned push to the Hub, in one commit."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

import hf_ser
from hf_ser.errors import SerError
from hf_ser.hub.push_checks import Outgoing, goes
from hf_ser.hub.push_plan import MARKS, Plan, PushArguments

_MADE_BY_HAND = {".gitattributes", ".gitignore", "README.md", "LICENSE", "LICENSE.md"}
_SAME_COMMAND = "run the same command again; it sends only the files that are missing."


class PushError(SerError):
    """A push that the Hub rejects or that fails on the way."""


@dataclass(frozen=True)
class Pushed:
    """The outcome of a push: address, commit, tag, and the Python code that loads this revision."""

    url: str
    revision: str
    tag: str | None
    line: str


def find_token() -> str:
    """The token that huggingface_hub finds.

    Raises:
        PushError: there is none, or HF_HUB_OFFLINE is set.

    >>> find_token()
    Traceback (most recent call last):
        ...
    hf_ser.hub.push.PushError: HF_HUB_OFFLINE is set. Unset it to push.
    """
    if constants.HF_HUB_OFFLINE:
        raise PushError("HF_HUB_OFFLINE is set. Unset it to push.")
    token = get_token()
    if not token:
        raise PushError(
            "no Hub token was found; expected one with write access. Create one under Settings > Access Tokens on the "
            "Hub, then run `hf auth login` or set HF_TOKEN. No files were sent."
        )
    return token


def send(plan: Plan, args: PushArguments, token: str) -> Pushed:
    """Push in one commit, so that readers never see half of it.

    Files that an interrupted push uploaded are not sent again. If the repository already holds these files, no commit
    is made.

    Raises:
        PushError: the Hub cannot be reached or rejects the push; the message says what was done.

    >>> from hf_ser.hub import make_plan
    >>> args = PushArguments("owner/emotions", folder="data/emotions", dry_run=False)
    >>> send(make_plan(args), args, find_token()).url  # doctest: +SKIP
    'https://huggingface.co/datasets/owner/emotions'
    """
    api = HfApi(token=token)
    with _plainly(args, "No files were sent."):
        _validate(plan)
        before, there = _open_repository(api, plan, args)
        tagged = _tagged(api, plan, args)
    stale = sorted(
        path for path in there if goes(path, plan.layout) and path not in {file.path for file in plan.files}
    )
    same = not stale and _holds(there, plan)
    if tagged is not None and not (same and tagged == before):
        raise PushError(
            f"{args.repository} already has a tag {args.tag}, at {tagged[:10]}; expected a new name. Choose another "
            "--tag, or delete that one on the Hub. No files were sent."
        )
    revision = before if same else _commit(api, plan, args, before, stale)
    if args.tag is not None and tagged is None:
        done = f"The files are on the Hub as {revision}, without the tag; run the same command again to add it."
        with _plainly(args, done):
            api.create_tag(args.repository, tag=args.tag, revision=revision, repo_type=plan.kind)
    prefix = {"model": "", "dataset": "datasets/", "space": "spaces/"}[plan.kind]
    url = f"{api.endpoint}/{prefix}{args.repository}"
    return Pushed(url, revision, args.tag, plan.line.format(revision=revision))


def _validate(plan: Plan) -> None:
    """Let the Hub validate the card before anything is created there."""
    try:
        RepoCard(plan.card).validate(repo_type=plan.kind)
    except HfHubHTTPError:
        raise
    except ValueError as error:
        said = " ".join(str(error).split())[:500]
        raise PushError(f"the Hub rejects the card's metadata: {said}. No files were sent.") from None


def _open_repository(api: HfApi, plan: Plan, args: PushArguments) -> tuple[str, dict[str, str]]:
    """Create the repository, or check the existing one -> its last commit, and path -> hash of its files."""
    try:
        info = api.repo_info(args.repository, repo_type=plan.kind, files_metadata=True)
    except RepositoryNotFoundError as error:
        if error.response.status_code == 401:  # with a token, this is about the token
            raise
        other = "dataset" if plan.kind == "model" else "model"
        # A Space may have the name of its model.
        if plan.kind != "space" and api.repo_exists(args.repository, repo_type=other):
            raise PushError(
                f"{args.repository} is a {other} on the Hub, and this is a {plan.kind}; expected another name, so "
                "that they are not confused. No files were sent."
            ) from None
        api.create_repo(args.repository, repo_type=plan.kind, private=args.private, space_sdk=plan.sdk)
        info = api.repo_info(args.repository, repo_type=plan.kind, files_metadata=True)
    if info.private != args.private:
        # The licences allow some pushes only to private repositories.
        is_now, flag = ("private", "true") if info.private else ("public", "false")
        raise PushError(
            f"{args.repository} is {is_now} on the Hub, but the push was planned for the opposite. Pass --private "
            f"{flag}, or change it in the repository's settings on the Hub. No files were sent."
        )
    there = _remote(info)
    if not there.keys() <= _MADE_BY_HAND and MARKS[plan.layout] not in there:
        raise PushError(
            f"{args.repository} was not pushed by a recipe (it has no {MARKS[plan.layout]}); expected a new name, or "
            "the repository of an earlier push. Choose another name. No files were sent."
        )
    return str(info.sha), there


def _tagged(api: HfApi, plan: Plan, args: PushArguments) -> str | None:
    """The commit that an existing tag points to."""
    if args.tag is None:
        return None
    tags = api.list_repo_refs(args.repository, repo_type=plan.kind).tags
    return next((tag.target_commit for tag in tags if tag.name == args.tag), None)


def _commit(api: HfApi, plan: Plan, args: PushArguments, before: str, stale: Sequence[str]) -> str:
    """Send all files in one commit -> its hash."""
    operations: list[Any] = [CommitOperationAdd(file.path, _readable(file)) for file in plan.files]
    operations += [CommitOperationDelete(path) for path in stale]
    what = Path(args.folder).resolve().name if args.folder else "the demo"
    message = args.message or f"Push {what} with hf_ser {hf_ser.__version__}"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*commit a data file")  # predictions of a model are intended
            with _plainly(args, f"No commit was made: {_SAME_COMMAND}"):
                commit = api.create_commit(
                    args.repository, operations, commit_message=message, repo_type=plan.kind, parent_commit=before
                )
                return str(commit.oid)
    except PushError:
        landed = _landed(api, plan, args, before)  # only the response may have been lost
        if landed is None:
            raise
        return landed


def _landed(api: HfApi, plan: Plan, args: PushArguments, before: str) -> str | None:
    try:
        info = api.repo_info(args.repository, repo_type=plan.kind, files_metadata=True)
    except (HTTPError, OSError):
        return None
    return info.sha if info.sha != before and _holds(_remote(info), plan) else None


def _remote(info: Any) -> dict[str, str]:
    """A repository's files: path -> SHA-256 of large ones, git's hash of the others."""
    return {file.rfilename: file.lfs.sha256 if file.lfs else str(file.blob_id) for file in info.siblings or []}


def _holds(there: dict[str, str], plan: Plan) -> bool:
    return all(file.has(there.get(file.path)) for file in plan.files)


def _readable(file: Outgoing) -> bytes | str:
    return file.source if isinstance(file.source, bytes) else str(file.source)


@contextmanager
def _plainly(args: PushArguments, done: str) -> Iterator[None]:
    """Turn errors of huggingface_hub into one line that ends in what was done. Addresses are left out: those of the
    storage are secret while they are valid.
    """
    try:
        yield
    except OfflineModeIsEnabled:
        raise PushError(f"HF_HUB_OFFLINE is set. Unset it to push. {done}") from None
    except (HTTPError, OSError, RuntimeError) as error:
        # A failed upload is a RuntimeError; LFS sets its cause, Xet does not.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if isinstance(cause, HfHubHTTPError):
            raise PushError(f"{_refusal(cause.response.status_code, args)} {done}") from None
        raise PushError(
            f"{constants.ENDPOINT} cannot be reached, or the connection broke ({type(cause).__name__}). Check the "
            f"network and try again. {done}"
        ) from None


def _refusal(status: int, args: PushArguments) -> str:
    owner = args.repository.partition("/")[0]
    said = {
        401: "the Hub rejects the token (HTTP 401): it is mistyped, expired or revoked. Run `hf auth login` again, or "
        "set HF_TOKEN.",
        403: f"the token has no write access to {args.repository} (HTTP 403); expected a write token of {owner} or of "
        "one of its members. Create one under Settings > Access Tokens on the Hub, or choose another --repository.",
        404: f"{args.repository} does not exist or is not visible with this token (HTTP 404). Check it on the Hub.",
        409: f"another push has just created {args.repository}, or the same files or tag in it (HTTP 409).",
        412: f"{args.repository} was changed during the push (HTTP 412). Check it on the Hub, then push again.",
        413: "a file is too large for the Hub (HTTP 413). Prepare the dataset with a smaller --max_shard_size.",
        429: "too many requests (HTTP 429). Try again in a few minutes.",
    }
    if status in said:
        return said[status]
    if status >= 500:
        return f"the Hub has an internal error (HTTP {status}). Try again later."
    return f"the Hub rejects the request (HTTP {status}). Check {args.repository} on the Hub."
