"""`hf-ser predict`: classifies any number of recordings, prints the answers or writes a file, and can be resumed."""

from hf_ser.batch.batch_error import BatchError
from hf_ser.batch.predict_command import PredictArguments, predict

__all__ = ["BatchError", "PredictArguments", "predict"]
