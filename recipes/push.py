"""Push a model folder, a prepared dataset or a demo to the Hub; without --dry_run false, only show what would go.

python recipes/push.py --folder runs/stacking --repository OWNER/NAME
python recipes/push.py --folder runs/stacking --repository OWNER/NAME --tag v1 --dry_run false
python recipes/push.py --models OWNER/NAME OWNER/OTHER@v1 --repository OWNER/demo --dry_run false

The dry run needs no network. Repositories are made private unless `--private false` is given, which the licences of
the corpora may forbid: then `--metadata_only true` pushes a dataset without its audio. The token is the one of
`hf auth login` or HF_TOKEN. All files go in one commit; the same command goes on after a push that broke off.
"""

from hf_ser.arguments import parse, run
from hf_ser.hub import PushArguments, describe, find_token, make_plan, send


def main() -> None:
    (args,) = parse(PushArguments, description=__doc__)
    token = None if args.dry_run else find_token()
    if args.models:
        from hf_ser.demo import plan_space  # which needs the extra `demo`

        plan = plan_space(args, token)
    else:
        plan = make_plan(args, token)
    print(describe(plan, args), flush=True)
    if token is None:
        print(
            "Nothing was sent. Add --dry_run false to push this; if an earlier push made the repository, this becomes "
            "a new commit on top."
        )
        return
    pushed = send(plan, args, token)
    tag = f" (tag {pushed.tag})" if pushed.tag else ""
    print(f"Pushed to {pushed.url}\nRevision {pushed.revision}{tag}\n\nLoad it with:\n{pushed.line}")


if __name__ == "__main__":
    run(main, after_interrupt="nothing was committed, and the same command sends only what has not arrived")
