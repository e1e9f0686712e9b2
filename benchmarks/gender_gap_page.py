"""The tables and the figure of docs/gender_gap.md, from the file that benchmarks/gender_gap.py writes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_ser import markdown
from hf_ser.results_file import number
from hf_ser.scoring.results import write_text

BEGIN, END = "<!-- gender_gap:begin -->", "<!-- gender_gap:end -->"


def render(results: Mapping[str, Any]) -> str:
    """The text between the markers."""
    found = results["crema_d"]
    parts = [
        "### UAR of women and men in every run",
        _runs(results["runs"]),
        "### Speakers of the merged runs",
        _speakers(results["speakers"]),
        f"### The {found['clips']} test clips of CREMA-D",
        "Share of correct answers of the five improved companions, and of listeners (voice only):",
        _who(found),
        f"Leaving out any one actor, the gap of the models is between {number(found['without_one_actor'][0])} and "
        f"{number(found['without_one_actor'][1])}. Over the {len(found['actors'])} actors, the shares of models and "
        f"listeners have a correlation of {found['correlation_of_actors']:.2f}.",
        "Gap of the models, adjusted for other properties of the clips:",
        markdown.table(
            ("adjusted for", "gap", "95 % interval"),
            [(name, number(row["gap"]), _ends(row["interval"])) for name, row in found["adjusted"].items()],
        ),
        "By emotion:",
        _by_emotion(found["by_emotion"]),
        "By the share of listeners who were right:",
        _by_listeners(found["by_listeners"]),
        "Voices (mean over clips):",
        _voices(found["voice"]),
    ]
    return "\n\n".join(parts)


def fill(page: Path, results: Mapping[str, Any]) -> None:
    """Replace the text between the markers of a page.

    Raises:
        SerError: the page does not have both markers once.
    """
    before, after = markdown.around_part(page.read_text(encoding="utf-8"), BEGIN, END, str(page))
    write_text(page, f"{before}\n\n{render(results)}\n\n{after}")


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw models against listeners, a point per actor of CREMA-D, as SVG only."""
    from hf_ser.reporting.plots.style import legend, new_figure, point, save, styled

    with styled():
        figure = new_figure(6.4, 5.2, "Actors of CREMA-D: models and listeners on the same test clips")
        axes = figure.subplots()
        handles = []
        for index, (gender, name) in enumerate((("female", "women"), ("male", "men"))):
            actors = [actor for actor in results["crema_d"]["actors"] if actor["gender"] == gender]
            across, up = ([actor[who] for actor in actors] for who in ("listeners", "models"))
            handles += axes.plot(across, up, linestyle="none", markersize=8, **point(index), label=name)
            mean = results["crema_d"]["models"]["women" if gender == "female" else "men"]
            axes.axhline(mean, color=point(index)["color"], linewidth=1.2, linestyle=("-", "--")[index], alpha=0.6)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set_xlabel("share of listeners who were right (voice only)")
        axes.set_ylabel("share of correct predictions, five models")
        axes.grid(alpha=0.3)
        legend(figure, handles, ["women", "men"], loc="outside lower center", ncols=2)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(figure, path)
    path.with_suffix(".png").unlink(missing_ok=True)


def _runs(rows: list[dict[str, Any]]) -> str:
    header = ("run", "corpus", "women", "men", "gap", "95 % interval")
    return markdown.table(
        header,
        [
            (
                row["run"],
                row["corpus"],
                f"{number(row['female']['uar'])} ({row['female']['speakers']} speakers)",
                f"{number(row['male']['uar'])} ({row['male']['speakers']} speakers)",
                number(row["gap"]),
                _ends(row["interval"]),
            )
            for row in rows
        ],
    )


def _speakers(table: Mapping[str, Any]) -> str:
    def cell(splits: Mapping[str, Any], split: str, gender: str) -> str:
        found = splits.get(split, {}).get(gender)
        return f"{found['clips']:,} clips of {found['speakers']}" if found else "-"

    header = ("corpus", "train, women", "train, men", "test, women", "test, men")
    pairs = [(split, gender) for split in ("train", "test") for gender in ("female", "male")]
    return markdown.table(header, [(corpus, *(cell(table[corpus], *pair) for pair in pairs)) for corpus in table])


def _who(found: Mapping[str, Any]) -> str:
    names = {
        "models": "models",
        "listeners": "listeners",
        "listeners_all": f"listeners, all {found['listeners_all']['clips']:,} clips",
    }
    rows = [
        (
            title,
            number(found[who]["women"]),
            number(found[who]["men"]),
            number(found[who]["gap"]),
            _ends(found[who]["interval"]),
        )
        for who, title in names.items()
    ]
    return markdown.table(("", "women", "men", "gap", "95 % interval"), rows)


def _by_emotion(table: Mapping[str, Any]) -> str:
    header = ("emotion", "models, women", "models, men", "listeners, women", "listeners, men")
    pairs = [(who, name) for who in ("models", "listeners") for name in ("women", "men")]
    return markdown.table(header, [(label, *(number(row[w][n]) for w, n in pairs)) for label, row in table.items()])


def _by_listeners(rows: list[dict[str, Any]]) -> str:
    header = ("listeners", "women, clips", "men, clips", "models, women", "models, men")
    return markdown.table(
        header,
        [
            (
                f"{100 * row['from']:.0f} to {100 * row['to']:.0f} %",
                *(row[name]["clips"] for name in ("women", "men")),
                *(number(row[name]["models"]) for name in ("women", "men")),
            )
            for row in rows
        ],
    )


def _voices(table: Mapping[str, Any]) -> str:
    names = {
        "level_dbfs": "level, dBFS",
        "pitch_hz": "median pitch, Hz",
        "pitch_spread": "spread of the pitch, semitones",
    }
    rows = [(title, f"{table[name]['women']:.1f}", f"{table[name]['men']:.1f}") for name, title in names.items()]
    return markdown.table(("", "women", "men"), rows)


def _ends(interval: list[float]) -> str:
    return f"[{number(interval[0])}, {number(interval[1])}]"
