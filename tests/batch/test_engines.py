"""The examples for Ray and Spark give the answers of `hf-ser predict`, on this machine."""

import os
import runpy
import shutil
import sys
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from batch_tools import read, same_rows

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.slow


@pytest.fixture
def expected(predict, few_recordings, tmp_path):
    """The rows of the command for three recordings and an empty file, by name."""
    (few_recordings / "empty.wav").write_bytes(b"")
    predict(few_recordings, "--output", tmp_path / "one.parquet")
    return by_name(read(tmp_path / "one.parquet"))


def by_name(rows):
    """Rows without the columns of files and windows; engines give them in any order."""
    others = ("start", "end", "windows", "model", "options")
    kept = [{name: value for name, value in row.items() if name not in others} for row in rows]
    return sorted(kept, key=lambda row: row["file"])


def run(name, few_recordings, output, model, *words):
    """Run an example in this process -> the rows of its output."""
    main = runpy.run_path(str(EXAMPLES / f"{name}_predict.py"))["main"]
    main([str(few_recordings), str(output), "--model", str(model), *words])
    return by_name(ds.dataset(output, format="parquet").to_table().to_pylist())


def test_ray(few_recordings, tiny_model, expected, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert same_rows(run("ray", few_recordings, tmp_path / "out", tiny_model, "--actors", "1"), expected)
    finally:
        ray.shutdown()


def test_spark(few_recordings, tiny_model, expected, tmp_path, monkeypatch):
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("no Java")
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    spark = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        assert same_rows(run("spark", few_recordings, tmp_path / "out", tiny_model, "--tasks", "1"), expected)
    finally:
        spark.stop()
