"""`hf-ser predict`: any number of recordings in, answers on the terminal or in a file that can be continued."""

from hf_ser.batch.batch_error import BatchError
from hf_ser.batch.predict_command import PredictArguments, predict

__all__ = ["BatchError", "PredictArguments", "predict"]
