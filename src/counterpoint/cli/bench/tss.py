"""`counterpoint bench tss`: dense correspondence of foreground pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from counterpoint.cli.bench.parameters import Flag, Several
from counterpoint.cli.bench.results import Resulting, Results, show_report
from counterpoint.cli.common import DEFAULTS, ModelOptions, console, open_model, output_folder


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which pairs.

    Attributes:
        groups: only these.
        categories: only these, such as car, horse, bus.
        limit: only the first so many pairs of each group.
    """

    groups: Annotated[list[Literal["FG3DCar", "JODS", "PASCAL"]] | None, Several] = None
    categories: Annotated[list[str] | None, Several] = None
    limit: int | None = None


Selected = Annotated[Selection, Parameter(name="*", group="Pairs")]

_ALL = Selection()
_SHOWN = Results()


def tss(
    *,
    data: Path,
    step: int = 1,
    mirror_known: Annotated[bool, Flag] = False,
    threshold: Annotated[list[float] | None, Several] = None,
    flows: Path | None = None,
    no_controls: Annotated[bool, Flag] = False,
    selection: Selected = _ALL,
    results: Resulting = _SHOWN,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Dense correspondence on TSS: flow accuracy of foreground pixels (protocol tss).

    Every foreground pixel is matched exactly at full resolution. With --out each method's flows are
    kept as .flo files in the layout of TSS' own results, for its evaluation kit too.

    Parameters
    ----------
    data
        The folder of TSS that holds FG3DCar, JODS and PASCAL.
    step
        Match and score every so many-th pixel of every so many-th row; 1 is the protocol's.
    mirror_known
        Mirror the other picture of pairs that the data set says are mirrored, as CNNGeometric does.
    threshold
        T, pixels of a picture with a longer side of 100; by default 1, 3, 5 and 10. Papers report
        5.
    flows
        Score the flows in this folder (GROUP/PAIR/flow1.flo, flow2.flo) instead of running a model.
    no_controls
        Only the model, without same position, colours, dense SIFT and untrained.
    """
    from counterpoint.benchmarks.datasets.tss import read_tss
    from counterpoint.benchmarks.flow.report import left_out, tables
    from counterpoint.benchmarks.flow.tss import Setting, score_flows, tss_report

    chosen = {} if threshold is None else {"thresholds": tuple(dict.fromkeys(threshold))}
    setting = Setting(step=step, mirror_known=mirror_known, **chosen)
    dataset = read_tss(
        data,
        groups=selection.groups,
        categories=selection.categories,
        limit=selection.limit,
        skip_bad=results.skip_bad,
    )
    if flows:
        report = score_flows(flows.expanduser(), dataset, setting, options.seed)
    else:
        out = output_folder(results.out) if results.out else None
        backbone = open_model(options)
        with console().status("reading") as status:
            report = tss_report(
                backbone,
                dataset,
                options,
                setting,
                controls=not no_controls,
                out=out,
                skip_bad=results.skip_bad,
                tell=lambda words: status.update(words),
            )
    show_report(report.title, tables(report), left_out(report), report.to_dict(), results)
    return 0
