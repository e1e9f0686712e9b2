"""Fine-tuning on a GPU: models of the sizes of wav2vec2-base and XLSR at several batch sizes.

python benchmarks/finetuning_gpu.py [--dataset data/emotions] [--models xlsr] [--batches 8 32] [--options plain both]

The weights are random, and training is as in `benchmarks/finetuning.py`, in bfloat16: the package's Trainer with
torch.compile, length grouping, both or neither, each in a separate process. After warm-up steps (and compilation), an
epoch over the same clips is timed, with decoding in worker processes. The rate is compared with a bfloat16 product of
two 8192 x 8192 matrices, measured just before. Memory is the peak allocation of torch on the GPU. Jobs that do not fit
are reported. The script uses the first GPU, or the one in CUDA_VISIBLE_DEVICES.
"""

import argparse
import sys
from pathlib import Path

import torch

# Before hf_ser, which removes this folder from the path.
from finetuning import BASE, GROUPED, TINY, Job, in_its_own_process, matrix_product
from machine import describe_machine

from hf_ser.arguments import run

XLSR = {
    **BASE,
    **{"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    **{"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}
MODELS = {"wav2vec2-base": BASE, "xlsr": XLSR}
COMPILED = {"torch_compile": True}
OPTIONS = {"plain": {}, "length-grouping": GROUPED, "torch.compile": COMPILED, "both": {**GROUPED, **COMPILED}}
LOADING = {"dataloader_num_workers": 8, "dataloader_persistent_workers": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default=str(Path("data") / "emotions"))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 16, 32, 64])
    parser.add_argument("--options", nargs="+", choices=OPTIONS, default=list(OPTIONS))
    parser.add_argument("--steps", type=int, default=20, help="measured steps")
    parser.add_argument("--warm_up", type=int, default=5, help="steps before the measured steps")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="use tiny models and a tiny product, to test the script")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: no GPU was found. benchmarks/finetuning.py measures CPUs.")
    chip = torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(describe_machine("bf16"))
    print(f"{chip}; {args.steps} steps, bfloat16\n")
    print("| model | batch | options | clips/s | padding | TFLOP/s | bfloat16 product TFLOP/s | share | peak GiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for model in args.models:
        config = {**MODELS[model], **TINY} if args.tiny else MODELS[model]
        for batch in args.batches:
            for name in args.options:
                product = matrix_product(512 if args.tiny else 8192, args.device, torch.bfloat16) / 1e12
                options = {**OPTIONS[name], "bf16": True, **(LOADING if args.device == "cuda" else {})}
                job = Job(args.dataset, config, options, batch, args.steps, args.warm_up, device=args.device)
                print(f"| {model} | {batch} | {name} | {row(in_its_own_process(job), product)} |", flush=True)


def row(measured: dict[str, float], product: float) -> str:
    """Columns of a job; `product` is the rate of the matrix product in TFLOP/s."""
    if not measured:
        return f"does not fit | | | {product:.3g} | |"
    rate = measured["gflops"] / 1e3
    speed = f"{measured['clips_per_s']:.1f} | {measured['padding']:.0%} | {rate:.3g} | {product:.3g}"
    return f"{speed} | {rate / product:.0%} | {measured['peak_gib']:.2f}"


if __name__ == "__main__":
    run(main, after_interrupt="start it again")
