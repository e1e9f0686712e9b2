"""Push a model folder, a prepared dataset, a demo or a static page to the Hub. The default is a dry run.

python recipes/push.py --folder runs/stacking --repository OWNER/NAME
python recipes/push.py --folder runs/stacking --repository OWNER/NAME --tag v1 --dry_run false
python recipes/push.py --models OWNER/NAME OWNER/OTHER@v1 --repository OWNER/demo --dry_run false
python recipes/push.py --kind space --repository OWNER/demo  # a demo of the model that comes with hf_ser
python recipes/push.py --folder runs/page --repository OWNER/page  # a static page with an exported model

The dry run shows the files and the card and needs no network. Repositories are private unless `--private false` is
given. The licences of the corpora may forbid a public push; `--metadata_only true` then pushes a dataset without its
audio. The token is that of `hf auth login` or HF_TOKEN. All files go in one commit. After a failed push, run the same
command again.
"""

from hf_ser.arguments import parse, run
from hf_ser.hub import PushArguments, describe, find_token, make_plan, send


def main() -> None:
    (args,) = parse(PushArguments, description=__doc__)
    token = None if args.dry_run else find_token()
    if args.is_demo:
        from hf_ser.demo import plan_space  # needs the extra `demo`

        plan = plan_space(args, token)
    else:
        plan = make_plan(args, token)
    print(describe(plan, args), flush=True)
    if token is None:
        print(
            "No files were sent. Add --dry_run false to push. If the repository exists, the push adds a commit to it."
        )
        return
    pushed = send(plan, args, token)
    tag = f" (tag {pushed.tag})" if pushed.tag else ""
    print(f"Pushed to {pushed.url}\nRevision {pushed.revision}{tag}\n\nLoad it with:\n{pushed.line}")


if __name__ == "__main__":
    run(main, after_interrupt="no commit was made; the same command sends only the files that are missing")
