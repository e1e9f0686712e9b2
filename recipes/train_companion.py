r"""Train a companion model (MelCNN, AudioCNN, AudioLSTM, CNN-LSTM, CNN-GRU) from scratch.

accelerate launch --config_file accelerate_config.yaml recipes/train_companion.py \
    --config recipes/configs/audio_cnn.yaml --dataset data/emotions

Any field of the YAML file can be overridden on the command line; unknown fields are rejected.
"""

import functools
import sys
from pathlib import Path

from hf_ser.arguments import run

sys.path.append(str(Path(__file__).parent))  # at the end, so that evaluate.py does not hide the library evaluate
import finetune  # noqa: E402

main = functools.partial(finetune.main, description=__doc__)

if __name__ == "__main__":
    run(main, after_interrupt=finetune.AFTER_INTERRUPT)
