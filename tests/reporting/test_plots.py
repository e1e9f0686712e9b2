"""Every figure: both files, its texts, nothing cut, the same bytes again, and input at its limits."""

import re

import numpy as np
import pytest
from matplotlib import image
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from sklearn.metrics import roc_auc_score

from hf_ser.labels import EMOTIONS
from hf_ser.reporting import plots
from hf_ser.reporting.plots import roc as roc_module
from hf_ser.reporting.plots import style as look

ODD = "_a$b$ <c> & d_e"  # mathtext, a legend's hidden name and XML in one
HISTORY = [
    {"epoch": 0.5, "loss": 2.0},
    {"epoch": 1.0, "eval_loss": 1.9, "eval_accuracy": 0.3, "eval_f1_weighted": 0.2, "eval_uar": 0.25},
    {"epoch": 1.5, "loss": 1.0},
    {"epoch": 2.0, "eval_loss": 1.5, "eval_accuracy": 0.5, "eval_f1_weighted": 0.4, "eval_uar": 0.45},
    {"epoch": 2.0, "train_loss": 1.5},
]
TITLE = "AudioCNN, RAVDESS, speaker-disjoint, test"
RNG = np.random.default_rng(0)
TRUTH = np.arange(64) % 8
VALUES = np.random.default_rng(1).uniform(0, 1, (700, 2))
CURVES = [
    {"epoch": 1.0, "loss": 0.9},
    {"epoch": 1.0, "eval_loss": 0.8, "eval_ccc": -0.1, "eval_ccc_arousal": 0.1, "eval_ccc_valence": -0.3},
    {"epoch": 2.0, "loss": 0.5, "eval_loss": 0.4, "eval_ccc": 0.6, "eval_ccc_arousal": 0.7, "eval_ccc_valence": 0.5},
]
PROBABILITIES = RNG.dirichlet(np.ones(8), 64) + np.eye(8)[TRUTH] * 0.2
CURVE = {"confidence": [0.3, 0.5, 0.9], "accuracy": [0.2, 0.6, 0.8], "clips": [3, 20, 40], "ece": 0.1234}
SOUND = RNG.normal(size=4000).astype(np.float32) * 0.1
CONFUSION = [[3, 1, 0], [0, 40, 9], [0, 0, 0]]


def _panel(title, ordered=True):
    curves = {
        ODD: plots.LevelCurve([0.7, 0.5, None], [0.6, None, None], [0.8, None, None]),
        "b": plots.LevelCurve([0.6, 0.3, 0.1], [0.5, 0.2, 0.0], [0.7, 0.4, 0.2]),
    }
    return plots.LevelPanel(title, ["clean", "10", "0"], curves, ordered=ordered)


CASES = {
    "training": lambda path: plots.plot_training_curves({"": HISTORY}, path, ODD),
    "training of several": lambda path: plots.plot_training_curves({"a": HISTORY, ODD: HISTORY[:3]}, path, TITLE),
    "confusion": lambda path: plots.plot_confusions({ODD: CONFUSION}, ["sad", "happy", "calm"], path, False, TITLE),
    "confusions": lambda path: plots.plot_confusions(
        {f"model {number}, {ODD}": CONFUSION for number in range(2)}, ["sad", "happy", "calm"], path, True, TITLE
    ),
    "roc": lambda path: plots.plot_roc(TRUTH, PROBABILITIES, EMOTIONS, path, ODD),
    "macro roc": lambda path: plots.plot_macro_roc(
        {"a": (TRUTH, PROBABILITIES), ODD * 4: (TRUTH, PROBABILITIES[::-1])}, EMOTIONS, path, TITLE
    ),
    "scores": lambda path: plots.plot_scores(
        [
            plots.ScoreRow("a", {"accuracy": (0.5, 0.4, 0.6), "UAR": (0.45, None, None)}),
            plots.ScoreRow(ODD * 4, {"UAR": (1.0, 1.0, 1.0)}),
        ],
        path,
        f"Scores {ODD}",
    ),
    "protocols": lambda path: plots.plot_protocols(
        [
            plots.ScoreRow(ODD * 4, {"a": (0.5, 0.4, 0.6), ODD: (0.7, None, None)}),
            plots.ScoreRow("b", {"a": (0, 0, 0)}),
        ],
        path,
        f"Scores {ODD}",
        "UAR",
    ),
    "reliability": lambda path: plots.plot_reliability(
        {"before": CURVE, f"after, T = 1.31, {ODD}": CURVE}, path, TITLE
    ),
    "matrix": lambda path: plots.plot_matrix([[0.7, None], [0.2, 1.0]], ["a", ODD], ["a", ODD], path, ODD),
    "embeddings": lambda path: plots.plot_embeddings(RNG.normal(size=(64, 2)), TRUTH, EMOTIONS, path, ODD),
    "clip": lambda path: plots.plot_clip(SOUND, 16_000, path, ODD),
    "emotions": lambda path: plots.plot_emotions(
        {"sad": SOUND, "happy": SOUND[:900], ODD: SOUND}, 16_000, path, TITLE
    ),
    "classes": lambda path: plots.plot_class_distribution(
        {"train": {"sad": 30, "happy": 20}, ODD: {"sad": 7}}, ["sad", "happy", "calm"], path, "split", TITLE
    ),
    "genders": lambda path: plots.plot_gender_distribution(
        {"a": {"female": 7, "male": 8}, ODD: {"male": 100}},
        {"a": {"female": 2, "male": 1}, ODD: {"male": 9}},
        path,
        TITLE,
    ),
    "shares": lambda path: plots.plot_shares(
        [[0.25, 0.75], [0.98, 0.02], [np.nan] * 2, [0.5, 0.5]], ["a", ODD * 4], ["sad", "happy", ODD], path, TITLE
    ),
    "importances": lambda path: plots.plot_importances([0.5, 31.25, 2000], ["a", ODD, ODD * 4], path, ODD, ODD * 5),
    "levels": lambda path: plots.plot_levels([_panel(ODD), _panel("b", False)], path, ODD, "UAR", ("chance", 0.1)),
    "concordance": lambda path: plots.plot_concordance(
        VALUES[:50], 0.7 * VALUES[:50], {"arousal": 0.61, "valence": 0.5}, path, ODD
    ),
    "concordance of many clips": lambda path: plots.plot_concordance(
        VALUES[:, :1], 0.7 * VALUES[:, :1], {"arousal": 0.61}, path, ODD
    ),
    "training on dimensions": lambda path: plots.plot_dimension_curves(CURVES, path, ODD, "ccc"),
    "flips": lambda path: plots.plot_flips({"right when clean": [3, 2, 0], ODD: [0, 1, 4]}, path, ODD),
}  # fmt: skip


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved; with `drawn.dry` set, nothing is written."""

    class Drawn(list):
        dry = False

    figures = Drawn()
    savefig = Figure.savefig

    def spy(figure, *args, **kwargs):
        if figure not in figures:
            figures.append(figure)
        if not figures.dry:
            savefig(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", spy)
    return figures


@pytest.fixture
def texts(drawn, tmp_path):
    """The texts of the figure that a call draws, without line breaks."""
    drawn.dry = True

    def read(function, *args):
        drawn.clear()
        function(*args)
        return visible(drawn[0])

    return read


def visible(figure):
    found = [text.get_text() for text in figure.findobj(Text) if text.get_visible()]
    return [re.sub(r"\s+", " ", text).strip() for text in found if text.strip()]


def squeezed(words):
    return "".join("".join(words).split())


@pytest.mark.parametrize("name", CASES)
def test_a_figure_is_written_whole_with_odd_names_as_they_are(name, drawn, tmp_path):
    CASES[name](tmp_path / "new" / "fold.1")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["fold.1.png", "fold.1.svg"]
    pixels = image.imread(tmp_path / "new" / "fold.1.png")[..., :3]
    assert pixels.shape[0] > 200 and pixels.std() > 0.03
    assert (tmp_path / "new" / "fold.1.svg").read_text().rstrip().endswith("</svg>")
    assert squeezed([ODD]) in squeezed(visible(drawn[0]))
    # Text that crosses the edge leaves ink on the outermost pixels.
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edge == 1).all(), "text is cut at the figure's edge"
    for axes in drawn[0].axes:
        assert axes.get_legend() is None, "a legend covers data"
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            shown = [label.get_text() for label in labels if label.get_text()]
            assert len(shown) == len(set(shown)), "tick labels repeat"
    assert not plt.get_fignums()


@pytest.mark.parametrize("name", ["roc", "clip", "scores"])
def test_the_same_input_gives_the_same_bytes(name, tmp_path, monkeypatch):
    global RNG
    for folder in ("first", "second"):
        RNG = np.random.default_rng(0)
        CASES[name](tmp_path / folder / "figure")
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    for suffix in ("png", "svg"):
        contents = [(tmp_path / folder / f"figure.{suffix}").read_bytes() for folder in ("first", "second")]
        assert contents[0] == contents[1]
        assert b"dc:date" not in contents[0]


def test_the_style_is_independent_of_matplotlibrc_and_does_not_change_it(drawn, tmp_path):
    before = dict(plt.rcParams)
    drawn.dry = True
    with plt.rc_context({"font.size": 40, "text.parse_math": True}):
        CASES["scores"](tmp_path / "figure")
        assert plt.rcParams["font.size"] == 40
    assert dict(plt.rcParams) == before
    assert drawn[0].axes[0].xaxis.label.get_size() == 10


@pytest.mark.parametrize("name", CASES)
def test_a_dark_figure_has_a_dark_page_and_light_text(name, drawn, tmp_path):
    drawn.dry = True
    with plots.styled("dark"):
        CASES[name](tmp_path / "figure")
        canvas = FigureCanvasAgg(drawn[0])
        canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3] / 255
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    np.testing.assert_allclose(edge, np.broadcast_to(to_rgb(look.THEMES["dark"].paper), edge.shape), atol=0.01)
    outside = [text for axes in drawn[0].axes for text in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    outside.append(drawn[0]._suptitle)
    assert {text.get_color() for text in outside} == {look.THEMES["dark"].text}


def test_a_theme_ends_with_its_block_and_unknown_ones_are_rejected(drawn, tmp_path):
    drawn.dry = True
    with plots.styled("dark"):
        pass
    CASES["scores"](tmp_path / "figure")
    assert to_rgb(drawn[0].get_facecolor()[:3]) == (1, 1, 1)
    with pytest.raises(ValueError, match=r"theme is 'night'; expected one of light, dark\."), plots.styled("night"):
        pass


def test_series_differ_without_colour():
    looks = [(str(look.line(index)["linestyle"]), look.line(index)["marker"]) for index in range(56)]
    assert len(set(looks)) == 56
    assert len({look.bar(index)["hatch"] for index in range(8)}) == 8
    assert look.ink("#332288") == "white" and look.ink("#DDCC77") == "black"


# --- training


def test_one_model_has_three_panels(texts, drawn, tmp_path):
    words = texts(plots.plot_training_curves, {"": HISTORY}, tmp_path / "figure", TITLE)
    titles = [axes.get_title(loc="left") for axes in drawn[0].axes]
    assert titles == ["Loss", "Validation accuracy", "Validation F1 and UAR"]
    assert {"training loss", "validation loss", "weighted F1", "UAR", "epoch", "cross entropy", TITLE} <= set(words)
    loss = drawn[0].axes[0].lines
    assert [list(line.get_ydata()) for line in loss] == [[2.0, 1.0], [1.9, 1.5]]
    assert list(loss[1].get_xdata()) == [1.0, 2.0]


def test_several_models_share_four_panels_and_one_legend(texts, drawn, tmp_path):
    words = texts(plots.plot_training_curves, {"first": HISTORY, "second": HISTORY}, tmp_path / "figure", TITLE)
    assert [axes.get_title(loc="left") for axes in drawn[0].axes][2:] == ["Validation weighted F1", "Validation UAR"]
    assert words.count("first") == words.count("second") == 1
    assert [len(axes.lines) for axes in drawn[0].axes] == [4, 2, 2, 2]


@pytest.mark.parametrize("history", [[], HISTORY[::2], [{"epoch": 1.0, "eval_loss": None}]])
def test_a_history_without_validation_says_so(history, texts, tmp_path):
    assert texts(plots.plot_training_curves, {"": history}, tmp_path / "figure", TITLE).count("not recorded") >= 2


# --- dimensions


def test_predicted_and_annotated_values_share_their_axes(texts, drawn, tmp_path):
    true, predicted = VALUES[:50], 1.3 * VALUES[:50] - 0.2
    words = texts(plots.plot_concordance, true, predicted, {"arousal": 0.6125, "valence": 0.5}, tmp_path / "f", TITLE)
    assert {"arousal, CCC 0.613", "valence, CCC 0.500", "annotated", "predicted", "predicted as annotated"} <= set(
        words
    )
    for index, axes in enumerate(drawn[0].axes):
        points = axes.collections[0].get_offsets()
        np.testing.assert_allclose(points, np.stack([true[:, index], predicted[:, index]], axis=1))
        assert axes.get_xlim() == axes.get_ylim() == drawn[0].axes[0].get_xlim()
        assert axes.get_xlim()[0] < predicted.min() and axes.get_xlim()[1] > predicted.max()
        assert list(axes.lines[0].get_xdata()) == list(axes.lines[0].get_ydata())  # the diagonal


def test_many_clips_are_counted_in_cells(texts, drawn, tmp_path):
    words = texts(plots.plot_concordance, VALUES, VALUES, {"arousal": 1.0, "valence": 1.0}, tmp_path / "f", TITLE)
    assert "clips per cell" in words and not any("mathdefault" in word for word in words)
    first, second = (axes.collections[0] for axes in drawn[0].axes[:2])
    assert first.get_array().sum() == second.get_array().sum() == len(VALUES) and first.norm is second.norm


def test_curves_of_dimensions_have_the_concordance_of_each(texts, drawn, tmp_path):
    words = texts(plots.plot_dimension_curves, CURVES, tmp_path / "f", TITLE, "mse")
    assert {"mean CCC", "CCC of arousal", "CCC of valence", "training loss", "mean square error"} <= set(words)
    loss, scores = drawn[0].axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[0.9, 0.5], [0.8, 0.4]]
    assert [list(line.get_ydata()) for line in scores.lines] == [[-0.1, 0.6], [0.1, 0.7], [-0.3, 0.5]]
    assert scores.get_ylim()[0] < -0.3
    assert texts(plots.plot_dimension_curves, [], tmp_path / "f", TITLE, "ccc").count("not recorded") == 2


# --- confusion matrices and tables


def test_cells_hold_counts_or_per_cent_and_rows_their_clips(texts, drawn, tmp_path):
    words = texts(
        plots.plot_confusions, {"test": CONFUSION}, ["sad", "happy", "calm"], tmp_path / "figure", False, TITLE
    )
    assert {"test", "40", "9", "true class", "share of the row (diagonal: recall)", TITLE} <= set(words)
    assert {"sad (n=4)", "happy (n=49)", "calm (n=0)"} <= set(words)
    assert words.count("–") == 3 and "predicted class (cells: clips) – class without clips" in words
    cells = {text.get_position(): text for text in drawn[0].axes[0].texts}
    assert cells[1, 1].get_color() == "white" and cells[0, 1].get_color() == "black"
    words = texts(
        plots.plot_confusions, {"test": CONFUSION}, ["sad", "happy", "calm"], tmp_path / "figure", True, TITLE
    )
    assert {"75", "25", "82", "18", "predicted class (cells: per cent of the row) – class without clips"} <= set(words)


def test_rows_of_other_clips_have_labels_in_every_panel(texts, drawn, tmp_path):
    words = texts(plots.plot_confusions, {"a": [[1]], "b": [[2]]}, ["sad"], tmp_path / "figure", True, TITLE)
    assert {"sad (n=1)", "sad (n=2)"} <= set(words)
    assert [axes.yaxis.get_tick_params()["labelleft"] for axes in drawn[0].axes[:2]] == [True, True]


def test_every_column_of_panels_has_its_labels(texts, drawn, tmp_path):
    texts(
        plots.plot_confusions, {str(number): [[1]] for number in range(5)}, ["sad"], tmp_path / "figure", True, TITLE
    )
    axes = drawn[0].axes[:5]
    assert [bool(panel.get_xlabel()) for panel in axes] == [False, False, True, True, True]
    assert axes[2].xaxis.get_tick_params()["labelbottom"]
    assert len(drawn[0].axes) == 7  # one panel is off, one colour bar for all


def test_an_unmeasured_score_is_a_dash(texts, tmp_path):
    words = texts(plots.plot_matrix, [[0.25, None]], ["ravdess"], ["ravdess", "savee"], tmp_path / "figure", "Across")
    assert {"0.250", "–", "trained on", "tested on", "UAR", "Across", "savee"} <= set(words)


# --- ROC


def test_areas_are_those_of_scikit_learn(texts, tmp_path):
    words = texts(plots.plot_roc, TRUTH, PROBABILITIES, EMOTIONS, tmp_path / "figure", TITLE)
    one_hot = np.eye(8)[TRUTH]
    assert f"micro average (AUC {roc_auc_score(one_hot, PROBABILITIES, average='micro'):.3f})" in words
    assert f"sad (AUC {roc_auc_score(one_hot[:, 3], PROBABILITIES[:, 3]):.3f})" in words
    words = texts(plots.plot_macro_roc, {"m": (TRUTH, PROBABILITIES)}, EMOTIONS, tmp_path / "figure", TITLE)
    assert f"m (AUC {roc_auc_score(one_hot, PROBABILITIES):.3f})" in words


def test_the_average_curve_has_the_average_area_with_ties_and_steps():
    label_ids = RNG.integers(0, 3, 30)
    probabilities = RNG.integers(0, 4, (30, 3)).astype(float)
    curves = roc_module.class_curves(label_ids, probabilities)
    false, true = roc_module.average_curve(list(curves.values()))
    expected = np.mean([roc_auc_score(label_ids == index, probabilities[:, index]) for index in range(3)])
    assert roc_module.auc(false, true) == pytest.approx(expected, abs=1e-12)
    assert (np.diff(false) >= 0).all() and (np.diff(true) >= -1e-12).all()


def test_an_absent_class_is_named_and_a_single_one_has_no_curve(texts, tmp_path):
    kept = TRUTH != 1
    words = texts(plots.plot_roc, TRUTH[kept], PROBABILITIES[kept], EMOTIONS, tmp_path / "figure", TITLE)
    assert "calm (no clips)" in words and any(word.startswith("happy (AUC") for word in words)
    words = texts(
        plots.plot_macro_roc, {"m": (TRUTH[kept], PROBABILITIES[kept])}, EMOTIONS, tmp_path / "figure", TITLE
    )
    assert any(word.endswith("without calm)") for word in words)
    words = texts(plots.plot_roc, TRUTH[:1], PROBABILITIES[:1], EMOTIONS, tmp_path / "figure", TITLE)
    assert {"neutral (no other class)", "sad (no clips)", "needs clips of two classes"} <= set(words)
    words = texts(plots.plot_macro_roc, {"m": (TRUTH[:1], PROBABILITIES[:1])}, EMOTIONS, tmp_path / "figure", TITLE)
    assert "m (clips of one class only)" in words


# --- scores and calibration


def test_scores_show_values_whiskers_and_gaps(texts, drawn, tmp_path):
    rows = [
        plots.ScoreRow("a", {"UAR": (0.5, 0.4, 0.7), "F1": (0.3, None, None)}),
        plots.ScoreRow("b", {"F1": (0, 0, 0)}),
    ]
    words = texts(plots.plot_scores, rows, tmp_path / "figure", "Test")
    assert {"Test", "0.500", "0.300", "0.000", "–", "UAR", "F1", "a", "b", "score"} <= set(words)
    axes = drawn[0].axes[0]
    assert axes.yaxis_inverted() and [bar.get_width() for bar in axes.patches] == [0.5, 0.3, 0]


def test_protocols_have_a_point_and_an_interval_each(texts, drawn, tmp_path):
    rows = [
        plots.ScoreRow("x", {"emobox": (0.5, 0.4, 0.7), "random": (0.8, None, None)}),
        plots.ScoreRow("y", {"emobox": (0.3, 0.2, 0.4)}),
    ]
    words = texts(plots.plot_protocols, rows, tmp_path / "figure", "Test", "UAR")
    assert {"Test", "x", "y", "emobox", "random", "UAR"} <= set(words)
    axes = drawn[0].axes[0]
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines if len(line.get_xdata())]
    intervals = [([0.4, 0.7], [0, 0]), ([0.2, 0.4], [1, 1])]
    assert lines == [intervals[0], ([0.5], [0]), intervals[1], ([0.3], [1]), ([0.8], [0])]
    assert axes.yaxis_inverted()


def test_calibration_shows_curve_diagonal_and_clips(texts, drawn, tmp_path):
    one = {"confidence": [0.5], "accuracy": [1.0], "clips": [1], "ece": 0.5}
    words = texts(plots.plot_reliability, {"before": CURVE, "after, T = 1.31": one}, tmp_path / "figure", TITLE)
    assert {"before ECE = 0.123", "after, T = 1.31 ECE = 0.500", "confidence", "accuracy", "clips"} <= set(words)
    upper, _, lower, _ = drawn[0].axes
    assert list(upper.lines[1].get_ydata()) == CURVE["accuracy"]
    assert [bar.get_height() for bar in lower.patches] == CURVE["clips"]


# --- importances


def test_shares_are_stacked_to_the_whole_and_written_where_there_is_room(texts, drawn, tmp_path):
    shares = [[0.2, 0.8], [0.97, 0.03], [0.6, 0.4]]
    words = texts(plots.plot_shares, shares, ["cnn", "forest"], ["sad", "happy"], tmp_path / "figure", TITLE)
    assert {"20 %", "80 %", "97 %", "60 %", "40 %", "cnn", "forest", "sad", "happy", "all"} <= set(words)
    assert "3 %" not in words and not any("–" in word for word in words)
    axes = drawn[0].axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([share for row in shares for share in row])
    assert [bar.get_x() for bar in axes.patches] == pytest.approx([0, 0.2, 0, 0.97, 0, 0.6])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["sad", "happy", "all"] and axes.yaxis_inverted()
    assert axes.patches[0].get_hatch() != axes.patches[1].get_hatch()


def test_a_class_that_is_never_predicted_is_a_dash(texts, drawn, tmp_path):
    shares = [[1.0], [np.nan], [1.0]]
    words = texts(plots.plot_shares, shares, ["cnn"], ["sad", "happy"], tmp_path / "figure", TITLE)
    assert "–" in words and any("never predicted" in word for word in words) and "no shares" not in words
    assert len(drawn[0].axes[0].patches) == words.count("100 %") == 2
    for bases in (["cnn", "forest"], []):
        nothing = np.full((3, len(bases)), np.nan)
        assert "no shares" in texts(plots.plot_shares, nothing, bases, ["sad", "happy"], tmp_path / "figure", TITLE)


def test_the_most_important_features_are_at_the_top(texts, drawn, tmp_path):
    values = [*range(1, 31), np.nan]
    names = [f"mfcc_{number}" for number in range(1, 32)]
    words = texts(plots.plot_importances, values, names, tmp_path / "figure", "Columns", "gain")
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == names[29:9:-1] and axes.yaxis_inverted()
    assert [bar.get_width() for bar in axes.patches] == values[29:9:-1]
    said = "gain top 20 of 30 features not shown: 1 of 31 features, which have no value"
    assert {"Columns", "30.0", "11.0", said} <= set(words)
    words = texts(plots.plot_importances, [12345.6, 0.01234], ["a", "b"], tmp_path / "figure", "Columns", "gain")
    assert {"12,346", "0.0123", "gain"} <= set(words)


@pytest.mark.parametrize(
    "values, said", [([], "no values"), ([np.nan], "no values"), ([0.0, 0.0], "all values are 0")]
)
def test_features_without_importance_are_reported(values, said, texts, drawn, tmp_path):
    names = ["a", "b"][: len(values)]
    assert said in texts(plots.plot_importances, values, names, tmp_path / "figure", "Columns", "gain")


# --- clips


@pytest.mark.parametrize("samples, sampling_rate", [(1, 16_000), (300, 8000), (9000, 44_100)])
def test_clips_of_any_length_and_rate(samples, sampling_rate, texts, drawn, tmp_path):
    words = texts(plots.plot_clip, np.zeros(samples, np.float32), sampling_rate, tmp_path / "figure", "Silence")
    assert {"Silence", "time (s)", "amplitude", "frequency (Hz, mel scale)", "power (dB)", "1000"} <= set(words)
    assert ("4000" in words) == (sampling_rate > 8000)


def test_a_tone_is_bright_at_its_frequency(drawn, tmp_path):
    drawn.dry = True
    tone = 0.5 * np.sin(2 * np.pi * 2000 * np.arange(16_000) / 16_000)
    plots.plot_clip(tone, 16_000, tmp_path / "figure", "2 kHz")
    axes = drawn[0].axes[1]
    shown = axes.images[0]
    low, high = shown.get_extent()[2:]
    brightest = low + (shown.get_array()[:, 50].argmax() + 0.5) * (high - low) / 80
    ticks = dict(zip([text.get_text() for text in axes.get_yticklabels()], axes.get_yticks(), strict=True))
    assert abs(brightest - ticks["2000"]) < 1
    assert axes.get_xlim() == (0, 1)


def test_emotions_share_one_scale(drawn, tmp_path):
    drawn.dry = True
    plots.plot_emotions({"sad": SOUND * 0.01, "angry": SOUND[:800]}, 16_000, tmp_path / "figure", TITLE)
    sad, angry = (axes.images[0] for axes in drawn[0].axes[:2])
    assert sad.get_clim() == angry.get_clim()
    assert drawn[0].axes[0].get_xlim() == drawn[0].axes[1].get_xlim() == (0, 0.25)
    assert [axes.get_title(loc="left") for axes in drawn[0].axes[:2]] == ["sad", "angry"]


# --- counts


def test_classes_are_stacked_with_totals(texts, drawn, tmp_path):
    counts = {"train": {"sad": 30, "happy": 20}, "test": {"sad": 7}}
    words = texts(plots.plot_class_distribution, counts, ["sad", "happy", "calm"], tmp_path / "figure", "split", TITLE)
    assert {"37", "30", "7", "20", "0", "train (50 clips)", "test (7 clips)", "Clips per emotion and split"} <= set(
        words
    )
    assert [text.get_text() for text in drawn[0].axes[0].get_xticklabels()] == ["sad", "happy", "calm"]
    words = texts(plots.plot_class_distribution, {"all": {"sad": 3}}, ["sad"], tmp_path / "figure", "all", TITLE)
    assert "Clips per emotion" in words and not any("clips)" in word for word in words)


def test_no_clips_at_all(texts, tmp_path):
    assert "0" in texts(plots.plot_class_distribution, {"all": {}}, ["sad"], tmp_path / "figure", "all", TITLE)
    assert "no clips" in texts(plots.plot_gender_distribution, {}, {}, tmp_path / "figure", TITLE)


def test_genders_by_corpus(texts, drawn, tmp_path):
    words = texts(
        plots.plot_gender_distribution,
        {"tess": {"female": 2800}, "savee": {"male": 480}},
        {"tess": {"female": 2}, "savee": {"male": 4}},
        tmp_path / "figure",
        TITLE,
    )
    assert {"2800", "480", "tess", "savee", "female", "male", "Clips by gender", "Speakers by gender"} <= set(words)


# --- embeddings


@pytest.mark.parametrize("clips, dim", [(1, 4), (2, 4), (5, 1), (9, 3), (12, 4), (12, 1)])
def test_projection_of_any_number_of_clips(clips, dim):
    embeddings = RNG.normal(size=(clips, dim)).astype(np.float32)
    points = plots.project(embeddings)
    assert points.shape == (clips, 2) and np.isfinite(points).all()
    np.testing.assert_array_equal(points, plots.project(embeddings))


def test_projection_keeps_groups_apart():
    groups = np.repeat(np.eye(2), 20, axis=0) * 20
    points = plots.project(np.pad(groups, ((0, 0), (0, 6))) + RNG.normal(size=(40, 8)))
    centres = points.reshape(2, 20, 2).mean(axis=1)
    nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == np.repeat([0, 1], 20)).all()


def test_embeddings_name_the_classes_that_are_there(texts, drawn, tmp_path):
    words = texts(plots.plot_embeddings, np.zeros((3, 2)), [0, 3, 3], EMOTIONS, tmp_path / "figure", "One place")
    assert {"neutral (1)", "sad (2)", "One place"} <= set(words) and "calm (0)" not in words
    markers = [line.get_marker() for line in drawn[0].axes[0].lines]
    assert len(markers) == len(set(markers)) == 2


def test_characters_without_a_glyph_are_told_once(tmp_path, monkeypatch):
    monkeypatch.setattr(look, "_warned", set())
    names = ["\U00013000 tagged", "sad"]  # a character that no font has
    with pytest.warns(UserWarning, match="figures show \U00013000 as boxes") as told:
        for number in range(2):
            plots.plot_confusions({"": [[3, 1], [0, 2]]}, names, tmp_path / f"{number}", True, "")
    assert len(told) == 1


def test_forty_classes_have_room(tmp_path):
    names = [f"class {number}" for number in range(40)]
    plots.plot_confusions({"": np.eye(40, dtype=int).tolist()}, names, tmp_path / "many", True, "")
    plots.plot_confusions({"": np.eye(12, dtype=int).tolist()}, names[:12], tmp_path / "few", True, "")
    many, few = (image.imread(tmp_path / f"{name}.png").shape for name in ("many", "few"))
    assert many[0] > 2 * few[0] and many[1] > 2 * few[1]
