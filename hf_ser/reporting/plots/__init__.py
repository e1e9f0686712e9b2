"""Figures: one look, light or dark, readable in greyscale, each as PNG and SVG."""

from hf_ser.extras import needs_extra

with needs_extra():
    from hf_ser.reporting.plots.by_protocol import plot_protocols
    from hf_ser.reporting.plots.clips import plot_clip, plot_emotions
    from hf_ser.reporting.plots.dimension_figures import plot_concordance, plot_dimension_curves
    from hf_ser.reporting.plots.distributions import plot_class_distribution, plot_gender_distribution
    from hf_ser.reporting.plots.embeddings import plot_embeddings, project
    from hf_ser.reporting.plots.importances import plot_importances, plot_shares
    from hf_ser.reporting.plots.level_curves import LevelCurve, LevelPanel, plot_flips, plot_levels
    from hf_ser.reporting.plots.reliability import plot_reliability
    from hf_ser.reporting.plots.risk_coverage import plot_risk_coverage
    from hf_ser.reporting.plots.roc import plot_macro_roc, plot_roc
    from hf_ser.reporting.plots.scores import ScoreRow, plot_scores
    from hf_ser.reporting.plots.style import styled
    from hf_ser.reporting.plots.tables import plot_confusions, plot_matrix
    from hf_ser.reporting.plots.training_curves import plot_training_curves
    from hf_ser.reporting.plots.trials import plot_trials
    from hf_ser.reporting.plots.vote_figures import draw_votes, plot_agreement, plot_perceived

__all__ = [
    "LevelCurve",
    "LevelPanel",
    "ScoreRow",
    "draw_votes",
    "plot_agreement",
    "plot_class_distribution",
    "plot_clip",
    "plot_concordance",
    "plot_confusions",
    "plot_dimension_curves",
    "plot_embeddings",
    "plot_emotions",
    "plot_flips",
    "plot_gender_distribution",
    "plot_importances",
    "plot_levels",
    "plot_macro_roc",
    "plot_matrix",
    "plot_perceived",
    "plot_protocols",
    "plot_reliability",
    "plot_risk_coverage",
    "plot_roc",
    "plot_scores",
    "plot_shares",
    "plot_training_curves",
    "plot_trials",
    "project",
    "styled",
]
