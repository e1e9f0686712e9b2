"""Make a leaderboard of runs and of models on the Hub: one table per protocol and set of test clips.

python recipes/leaderboard.py runs/quickstart runs/baseline --output_dir runs/leaderboard
python recipes/leaderboard.py "results/*_emobox" OWNER/MODEL@REVISION --speeds results/speeds.json --page PAGE.md
"""

from hf_ser.arguments import parse, run
from hf_ser.reporting.leaderboard import LeaderboardArguments, make_leaderboard


def main() -> None:
    (args,) = parse(LeaderboardArguments, description=__doc__, positional="runs")
    text, written = make_leaderboard(args)
    print(f"\n{text}" + "".join(f"\nWrote {path}" for path in written))


if __name__ == "__main__":
    run(main, after_interrupt="start again")
