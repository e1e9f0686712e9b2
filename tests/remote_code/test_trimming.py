import numpy as np
import pytest
import torch

from hf_ser.audio import trim_silence
from hf_ser.remote_code.trimming import cut_silent_ends


def _clip(lead, sound, tail, seed=0):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(0, scale, size) for scale, size in ((1e-4, lead), (0.2, sound), (1e-4, tail))]
    return np.concatenate(parts).astype(np.float32)


@pytest.mark.parametrize("trim_db", [20.0, 30.0, 50.0])
@pytest.mark.parametrize("sizes", [(9000, 20_000, 7000), (0, 5000, 0), (100, 3000, 20_000), (700, 100, 300)])
def test_it_cuts_what_trimming_one_clip_cuts(trim_db, sizes):
    clip = _clip(*sizes)
    expected = trim_silence(clip, trim_db)
    for padding in (0, 1, 1000, 5000):
        batch = torch.from_numpy(np.pad(clip, (0, padding)))[None]
        cut = cut_silent_ends(batch, trim_db, 30_000)[0].numpy()
        np.testing.assert_array_equal(cut[: len(expected)], expected[:30_000])
        assert not cut[len(expected) :].any()


def test_clips_of_a_batch_do_not_touch_each_other():
    clips = [_clip(lead, 6000, 20_000 - lead, seed) for seed, lead in enumerate((0, 3000, 9000))]
    together = cut_silent_ends(torch.from_numpy(np.stack(clips)), 30.0, 8000)
    alone = [cut_silent_ends(torch.from_numpy(clip)[None], 30.0, 8000)[0] for clip in clips]
    torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=0)


def test_silence_and_short_clips_are_kept_whole():
    assert cut_silent_ends(torch.zeros(2, 700), 30.0, 900).shape == (2, 900)
    tiny = torch.full((1, 3), 0.5)
    assert cut_silent_ends(tiny, 30.0, 5).tolist() == [[0.5, 0.5, 0.5, 0.0, 0.0]]
