"""Annotation files: which format one has, reading it, writing any."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from counterpoint.annotations.coco import read_coco, write_coco
from counterpoint.annotations.cvat import parse_xml, read_cvat, write_cvat
from counterpoint.annotations.label_studio import (
    URL_PREFIX,
    label_config,
    looks_like_tasks,
    read_label_studio,
    write_label_studio,
)
from counterpoint.annotations.model import Annotations
from counterpoint.annotations.reading import Report
from counterpoint.errors import BadInput, UnknownName
from counterpoint.files import write_text

Format = Literal["coco", "label-studio", "cvat"]
FORMATS: tuple[str, ...] = get_args(Format)

SUFFIXES = {"coco": ".json", "label-studio": ".json", "cvat": ".xml"}


def read_annotations(
    path: Path | str, form: str | None = None, *, skip_bad: bool = False
) -> Annotations:
    """Read an annotation file of any known format.

    Args:
        path: the file.
        form: its format ("coco", "label-studio", "cvat"); by default found from the content.
        skip_bad: leave out entries that cannot be used, and list them in `Annotations.problems`.

    Raises:
        BadInput: missing, malformed, of no known format, or with an entry that cannot be used.
        UnknownName: no such format.
        MissingExtra: it holds COCO's compressed masks and pycocotools is not installed.
    """
    path = Path(path)
    if form is not None and form not in FORMATS:
        raise UnknownName("annotation format", form, FORMATS)
    text = _text(path)
    report = Report(skip_bad)
    try:
        found = _read(text, form, report)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    return replace(found, problems=tuple(report.lines))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise BadInput(f"no such annotation file: {path}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"expected JSON or XML in UTF-8, got other bytes in {path}") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from error


def _read(text: str, form: str | None, report: Report) -> Annotations:
    if not text.strip():
        raise BadInput("expected JSON or XML, got an empty file")
    is_xml = text.lstrip().startswith("<")
    if form == "cvat" or (form is None and is_xml):
        return read_cvat(parse_xml(text), report)
    document = _parse_json(text)
    if form is None and looks_like_tasks(document):
        form = "label-studio"
    if form == "label-studio":
        return read_label_studio(document, report)
    if form is None and not (isinstance(document, dict) and "images" in document):
        raise BadInput(
            "expected COCO ('images', 'annotations', 'categories'), an export of Label Studio, or "
            "CVAT for images 1.1; found none of them"
        )
    return read_coco(document, report)


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(
            f"expected JSON, got something else at line {error.lineno}, column {error.colno} "
            f"({error.msg}); is the file cut off?"
        ) from error
    except RecursionError as error:
        raise BadInput("expected JSON of sensible depth, got it nested too deeply") from error


def write_annotations(
    annotations: Annotations,
    path: Path | str,
    form: str | None = None,
    *,
    url_prefix: str = URL_PREFIX,
) -> list[Path]:
    """Write annotations, atomically; Label Studio's with the labelling interface beside them.

    Args:
        annotations: to be written.
        path: the file.
        form: its format; by default that in which the annotations came.
        url_prefix: before pictures' names in Label Studio's tasks, for pictures that the input
            does not have.

    Returns:
        The files written.

    Raises:
        StorageError: the folder cannot be written.
    """
    form = form or annotations.form
    path = Path(path)
    if form == "cvat":
        write_text(path, write_cvat(annotations))
    elif form == "label-studio":
        tasks = write_label_studio(annotations, url_prefix=url_prefix)
        write_text(path, _dump(tasks))
        config = path.with_name(f"{path.stem}.label-config.xml")
        write_text(config, label_config(annotations))
        return [path, config]
    elif form == "coco":
        write_text(path, _dump(write_coco(annotations)))
    else:
        raise UnknownName("annotation format", form, FORMATS)
    return [path]


def _dump(document: Any) -> str:
    return json.dumps(document, allow_nan=False) + "\n"
