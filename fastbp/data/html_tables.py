"""Small HTML tables, for what notebooks show of an object."""

import html


def table(header, rows, caption=""):
    """Return a table as HTML.

    header: names of the columns; rows: lists of values; caption: a line above. All are texts or
    numbers, not HTML. Colours and fonts are those of the page, dark or light.
    """
    lines = ["<table>"]
    if caption:
        style = "caption-side: top; text-align: left; white-space: nowrap"
        lines.append(f'<caption style="{style}">{html.escape(str(caption))}</caption>')
    lines.append(f"<thead>{_row(header, 'th')}</thead>")
    lines += ["<tbody>", *(_row(row, "td") for row in rows), "</tbody>", "</table>"]
    return "\n".join(lines)


def _row(values, tag):
    return (
        "<tr>" + "".join(f"<{tag}>{html.escape(str(value))}</{tag}>" for value in values) + "</tr>"
    )
