"""Fit and score a hybrid: a stack of models' probabilities, LightGBM on deep features, or a random forest.

python recipes/fit_hybrid.py --config recipes/configs/stacking.yaml --dataset data/emotions --output_dir runs/stacking
"""

from hf_ser.arguments import parse, run
from hf_ser.data import DataArguments, load_splits
from hf_ser.hub import write_model_card
from hf_ser.hybrids.fitting import fit_hybrid, train_bases_of_stack
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.reporting import summary
from hf_ser.run_folder import held


def main() -> None:
    data_args, args = parse(DataArguments, HybridArguments, description=__doc__)
    data_args.refuse_streaming("a hybrid")
    data = load_splits(data_args)
    if args.train_only:
        train_bases_of_stack(data, args)
        print(f"Wrote the nested folds to {args.out_of_fold_root}")
        return
    with held(args.output_dir) as folder:
        results = fit_hybrid(data, args, folder.name)
        if "sources" in results["training"]:  # otherwise there are predictions and a report, but no model
            write_model_card(folder, results)
    print(f"\n{summary(results)}\nWrote {args.output_dir} (see {args.output_dir}/report.md)")


if __name__ == "__main__":
    run(main, after_interrupt="run the same command again")
