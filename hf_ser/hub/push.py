"""Pushing what was planned to the Hub, in one commit."""

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
_SAME_COMMAND = "the same command goes on, and sends nothing that arrived already."


class PushError(SerError):
    """A push that the Hub refuses or that does not get through."""


@dataclass(frozen=True)
class Pushed:
    """What became of a push: address, commit, tag, and the Python that loads this very revision."""

    url: str
    revision: str
    tag: str | None
    line: str


def find_token() -> str:
    """The token that huggingface_hub has.

    Raises:
        PushError: it has none, or HF_HUB_OFFLINE is set.

    >>> find_token()
    Traceback (most recent call last):
        ...
    hf_ser.hub.push.PushError: HF_HUB_OFFLINE is set, so that nothing can be pushed; unset it.
    """
    if constants.HF_HUB_OFFLINE:
        raise PushError("HF_HUB_OFFLINE is set, so that nothing can be pushed; unset it.")
    token = get_token()
    if not token:
        raise PushError(
            "no token of the Hub was found; expected one that may write. Make one under Settings > Access Tokens on "
            "the Hub, then run `hf auth login` or set HF_TOKEN. Nothing was sent."
        )
    return token


def send(plan: Plan, args: PushArguments, token: str) -> Pushed:
    """Push in one commit: a reader sees all of it or nothing.

    Files that arrived before a push broke off are not sent again. If the repository holds exactly this already, there
    is no new commit.

    Raises:
        PushError: the Hub cannot be reached or refuses; the message says what was done.

    >>> from hf_ser.hub import make_plan
    >>> args = PushArguments("owner/emotions", folder="data/emotions", dry_run=False)
    >>> send(make_plan(args), args, find_token()).url  # doctest: +SKIP
    'https://huggingface.co/datasets/owner/emotions'
    """
    api = HfApi(token=token)
    with _plainly(args, "Nothing was sent."):
        _validate(plan)
        before, there = _open_repository(api, plan, args)
        tagged = _tagged(api, plan, args)
    stale = sorted(path for path in there if goes(path, plan.kind) and path not in {file.path for file in plan.files})
    same = not stale and _holds(there, plan)
    if tagged is not None and not (same and tagged == before):
        raise PushError(
            f"{args.repository} has a tag {args.tag} already, on {tagged[:10]}; expected a new name. Choose another "
            "--tag, or delete that one on the Hub. Nothing was sent."
        )
    revision = before if same else _commit(api, plan, args, before, stale)
    if args.tag is not None and tagged is None:
        done = f"Everything is on the Hub as {revision}, without the tag; the same command adds it."
        with _plainly(args, done):
            api.create_tag(args.repository, tag=args.tag, revision=revision, repo_type=plan.kind)
    prefix = {"model": "", "dataset": "datasets/", "space": "spaces/"}[plan.kind]
    url = f"{api.endpoint}/{prefix}{args.repository}"
    return Pushed(url, revision, args.tag, plan.line.format(revision=revision))


def _validate(plan: Plan) -> None:
    """Let the Hub itself judge the card, before anything is made there."""
    try:
        RepoCard(plan.card).validate(repo_type=plan.kind)
    except HfHubHTTPError:
        raise
    except ValueError as error:
        said = " ".join(str(error).split())[:500]
        raise PushError(f"the Hub does not take the card's metadata: {said}. Nothing was sent.") from None


def _open_repository(api: HfApi, plan: Plan, args: PushArguments) -> tuple[str, dict[str, str]]:
    """Make the repository, or find that it is one to push to -> its last commit, and its files' hashes."""
    try:
        info = api.repo_info(args.repository, repo_type=plan.kind, files_metadata=True)
    except RepositoryNotFoundError as error:
        if error.response.status_code == 401:  # with a token, this is about the token
            raise
        other = "dataset" if plan.kind == "model" else "model"
        # A Space may well be named after its model.
        if plan.kind != "space" and api.repo_exists(args.repository, repo_type=other):
            raise PushError(
                f"{args.repository} is a {other} on the Hub, and this is a {plan.kind}; expected another name, so "
                "that nobody takes one for the other. Nothing was sent."
            ) from None
        sdk = "gradio" if plan.kind == "space" else None
        api.create_repo(args.repository, repo_type=plan.kind, private=args.private, space_sdk=sdk)
        info = api.repo_info(args.repository, repo_type=plan.kind, files_metadata=True)
    if info.private != args.private:
        # Who sees it decides whether the licences allow the push, so nothing goes on a guess.
        is_now, flag = ("private", "true") if info.private else ("public", "false")
        raise PushError(
            f"{args.repository} is {is_now} on the Hub, which this push was not planned for; pass --private {flag}, "
            "or change it in the repository's settings on the Hub. Nothing was sent."
        )
    there = _remote(info)
    if not there.keys() <= _MADE_BY_HAND and MARKS[plan.kind] not in there:
        raise PushError(
            f"{args.repository} holds something that no recipe pushed (it has no {MARKS[plan.kind]}); expected a new "
            "name or a repository of an earlier push. Choose another name. Nothing was sent."
        )
    return str(info.sha), there


def _tagged(api: HfApi, plan: Plan, args: PushArguments) -> str | None:
    """The commit that the tag stands on already."""
    if args.tag is None:
        return None
    tags = api.list_repo_refs(args.repository, repo_type=plan.kind).tags
    return next((tag.target_commit for tag in tags if tag.name == args.tag), None)


def _commit(api: HfApi, plan: Plan, args: PushArguments, before: str, stale: Sequence[str]) -> str:
    """Send all files and commit them at once -> the commit."""
    operations: list[Any] = [CommitOperationAdd(file.path, _readable(file)) for file in plan.files]
    operations += [CommitOperationDelete(path) for path in stale]
    what = Path(args.folder).resolve().name if args.folder else "the demo"
    message = args.message or f"Push {what} with hf_ser {hf_ser.__version__}"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*commit a data file")  # a model's predictions are meant
            with _plainly(args, f"Nothing was committed: {_SAME_COMMAND}"):
                commit = api.create_commit(
                    args.repository, operations, commit_message=message, repo_type=plan.kind, parent_commit=before
                )
                return str(commit.oid)
    except PushError:
        landed = _landed(api, plan, args, before)  # the answer alone may have been lost
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
    """A repository's files: place -> SHA-256 of large ones, git's hash of the others."""
    return {file.rfilename: file.lfs.sha256 if file.lfs else str(file.blob_id) for file in info.siblings or []}


def _holds(there: dict[str, str], plan: Plan) -> bool:
    return all(file.has(there.get(file.path)) for file in plan.files)


def _readable(file: Outgoing) -> bytes | str:
    return file.source if isinstance(file.source, bytes) else str(file.source)


@contextmanager
def _plainly(args: PushArguments, done: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into one line, which ends in what was done. Addresses stay out of it: those of
    the storage are secrets for as long as they are valid.
    """
    try:
        yield
    except OfflineModeIsEnabled:
        raise PushError(f"HF_HUB_OFFLINE is set, so that nothing can be pushed; unset it. {done}") from None
    except (HTTPError, OSError, RuntimeError) as error:
        # An upload that fails is a RuntimeError, by LFS with the reason behind it, by Xet without.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if isinstance(cause, HfHubHTTPError):
            raise PushError(f"{_refusal(cause.response.status_code, args)} {done}") from None
        raise PushError(
            f"{constants.ENDPOINT} cannot be reached, or the connection broke ({type(cause).__name__}); expected a "
            f"way to the Hub. Try again when there is one. {done}"
        ) from None


def _refusal(status: int, args: PushArguments) -> str:
    owner = args.repository.partition("/")[0]
    said = {
        401: "the Hub does not know the token (HTTP 401): it is mistyped, expired or revoked; run `hf auth login` "
        "again, or set HF_TOKEN.",
        403: f"the token may not write to {args.repository} (HTTP 403); expected one with write access, of {owner} or "
        "of a member of it. Make one under Settings > Access Tokens on the Hub, or choose another --repository.",
        404: f"{args.repository} is not there, or not to be seen with this token (HTTP 404); look at it on the Hub.",
        409: f"{args.repository}, or what this push would make in it, has just been made by another push (HTTP 409).",
        412: f"{args.repository} was changed by somebody else meanwhile (HTTP 412); look at it, then push again.",
        413: "the Hub finds a file too large (HTTP 413); prepare the dataset with a smaller --max_shard_size.",
        429: "the Hub asks for patience (HTTP 429): too many requests; try again in some minutes.",
    }
    if status in said:
        return said[status]
    if status >= 500:
        return f"the Hub has trouble of its own (HTTP {status}); try again later."
    return f"the Hub refuses (HTTP {status}); look at {args.repository} on the Hub."
